-- Leases job ?1 to worker ?2 until ?3.
UPDATE jobs
SET state = 'leased', attempt = attempt + 1, worker = ?2, lease_expires_ms = ?3, interrupted = 0
WHERE seq = ?1
RETURNING *,
    (SELECT input FROM inputs WHERE job_seq = seq) AS input,
    (SELECT options FROM inputs WHERE job_seq = seq) AS options
