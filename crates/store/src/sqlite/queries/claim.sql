-- Leases the next job. ?1 worker, ?2 end of the lease, ?3 now, ?4 JSON array of endpoints or null for all.
UPDATE jobs
SET state = 'leased', attempt = attempt + 1, worker = ?1, lease_expires_ms = ?2
WHERE seq = (
    SELECT seq
    FROM jobs
    WHERE state = 'queued'
      -- Too late to be worth starting: somebody ends it with a proper outcome instead.
      AND (start_by_ms IS NULL OR start_by_ms > ?3)
      -- Only what this worker can run.
      AND (?4 IS NULL OR endpoint IN (SELECT value FROM json_each(?4)))
    -- Normal before low, then first in, first out. A job that came back has kept its seq and goes first again.
    ORDER BY priority, seq
    LIMIT 1
)
RETURNING *
