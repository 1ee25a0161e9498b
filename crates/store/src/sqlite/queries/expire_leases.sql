-- At ?1, ends the leases of a process that is gone: its slots are named ?2/0, ?2/1, …
UPDATE jobs
SET lease_expires_ms = ?1
WHERE lease_expires_ms > ?1
  AND (worker = ?2 OR substr(worker, 1, length(?2) + 1) = ?2 || '/')
