-- Extends the lease of job $1's attempt $2 until $3. No row: lost.
UPDATE jobs
SET lease_expires_ms = $3
WHERE id = $1 AND attempt = $2 AND state IN ('leased', 'running')
RETURNING cancel_requested
