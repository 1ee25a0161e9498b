-- Put behind `standing.sql`: the jobs whose lease has expired by ?1.
WHERE lease_expires_ms <= ?1
ORDER BY lease_expires_ms
