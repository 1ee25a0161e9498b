-- The events of job $1 behind event $2.
SELECT events.seq, events.attempt, events.at_ms, events.data
FROM jobs
JOIN events ON events.job_seq = jobs.seq
WHERE jobs.id = $1 AND events.seq > $2
ORDER BY events.seq
