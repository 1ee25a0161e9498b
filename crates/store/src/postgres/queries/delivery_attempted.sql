-- Records attempt $2 of delivery $1 and what follows: state $3, next at $4. $5 to $8 say how it went. No row when
-- somebody else has claimed it since.
WITH current AS (
    UPDATE deliveries
    SET state = $3, next_ms = $4
    WHERE id = $1 AND attempt = $2 AND state = 'pending'
    RETURNING id
)
INSERT INTO delivery_attempts (delivery_id, at_ms, duration_ms, status, error)
SELECT id, $5, $6, $7, $8 FROM current
RETURNING id
