-- The living per endpoint and state: the waiting are counted already, those at work are few.
SELECT endpoint, 'queued'::text AS state, sum(number)::bigint AS jobs
FROM waiting
GROUP BY endpoint
HAVING sum(number) > 0
UNION ALL
SELECT endpoint, state::text, count(*) AS jobs
FROM jobs
WHERE lease_expires_ms IS NOT NULL
GROUP BY endpoint, state
