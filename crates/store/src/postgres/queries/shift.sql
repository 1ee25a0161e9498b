-- At $1, brings what is due beyond $2 nearer by $3, but not beyond $4: leases, rests, deliveries.
WITH leases AS (
    UPDATE jobs SET lease_expires_ms = greatest($1, least(lease_expires_ms - $3, $4)) WHERE lease_expires_ms > $2
), rests AS (
    UPDATE jobs SET not_before_ms = greatest($1, least(not_before_ms - $3, $4))
    WHERE state = 'queued' AND not_before_ms > $2
)
UPDATE deliveries SET next_ms = greatest($1, least(next_ms - $3, $4)) WHERE next_ms > $2
