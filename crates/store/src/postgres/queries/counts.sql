-- The living per endpoint and state.
SELECT endpoint, state, count(*) AS jobs
FROM jobs
WHERE finished_ms IS NULL
GROUP BY endpoint, state
ORDER BY endpoint, state
