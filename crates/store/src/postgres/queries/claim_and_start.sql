-- Leases the next job and starts it in the same transaction; the row shows it as it was leased.
SELECT claimed.*
FROM claim($1, $2, $3, $4, $5, $6, $7, $8) AS claimed
CROSS JOIN LATERAL start($1, claimed.id, claimed.attempt)
