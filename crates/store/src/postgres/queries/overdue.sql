-- The waiting whose start deadline has passed by $1.
SELECT id
FROM jobs
WHERE state = 'queued' AND start_by_ms <= $1
ORDER BY start_by_ms, seq
