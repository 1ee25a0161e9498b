-- Delivers the webhook of job $1 once more, at $2.
INSERT INTO deliveries (job_seq, url, next_ms)
SELECT seq, webhook, $2
FROM jobs
WHERE id = $1 AND finished_ms IS NOT NULL AND webhook IS NOT NULL
RETURNING id
