-- The living per endpoint and state: the waiting are counted already, those at work are few.
SELECT endpoint, 'queued' AS state, sum(number) AS jobs
FROM waiting
GROUP BY endpoint
HAVING sum(number) > 0
UNION ALL
SELECT endpoint, state, count(*)
FROM jobs INDEXED BY jobs_leases
WHERE lease_expires_ms IS NOT NULL
GROUP BY endpoint, state
