-- How jobs stand; which jobs, whoever asks adds. The columns are read by their place in this list.
SELECT jobs.id, jobs.seq, jobs.endpoint, jobs.key_id, jobs.priority, jobs.state, jobs.attempt,
       jobs.created_ms, jobs.started_ms, jobs.finished_ms,
       outcomes.status, outcomes.error, outcomes.error_type, outcomes.inference_ms
FROM jobs LEFT JOIN outcomes ON outcomes.job_seq = jobs.seq
