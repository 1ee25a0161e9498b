-- The jobs whose lease has expired by ?1.
SELECT *
FROM jobs
WHERE lease_expires_ms <= ?1
ORDER BY lease_expires_ms
