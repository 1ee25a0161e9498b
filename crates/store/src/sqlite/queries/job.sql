-- Job ?1 with its input and, if it has ended, its outcome.
SELECT jobs.*, inputs.input, inputs.options,
       outcomes.status, outcomes.body, outcomes.headers, outcomes.error, outcomes.error_type, outcomes.inference_ms
FROM jobs
JOIN inputs ON inputs.job_seq = jobs.seq
LEFT JOIN outcomes ON outcomes.job_seq = jobs.seq
WHERE jobs.id = ?1
