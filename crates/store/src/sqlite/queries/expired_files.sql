-- Files that have expired by ?1, at most ?2, the oldest first.
SELECT *
FROM files
WHERE expires_ms <= ?1
ORDER BY expires_ms
LIMIT ?2
