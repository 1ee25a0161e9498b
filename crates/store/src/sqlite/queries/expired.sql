-- The jobs whose lease has expired by ?1, as `standing.sql` lists their columns.
SELECT seq, id, endpoint, state, attempt, drained, crashes, worker, webhook, cancel_outcome
FROM jobs
WHERE lease_expires_ms <= ?1
ORDER BY lease_expires_ms
