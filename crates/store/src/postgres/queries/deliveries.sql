-- The deliveries of job $1, each as many times as it has attempts, at least once.
SELECT deliveries.id, deliveries.url, deliveries.state, deliveries.next_ms,
       attempts.at_ms, attempts.duration_ms, attempts.status, attempts.error
FROM jobs
JOIN deliveries ON deliveries.job_seq = jobs.seq
LEFT JOIN delivery_attempts AS attempts ON attempts.delivery_id = deliveries.id
WHERE jobs.id = $1
ORDER BY deliveries.id, attempts.id
