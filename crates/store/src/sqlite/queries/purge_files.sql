-- The pictures of the jobs that `purge.sql` is about to delete, with the same ?1 to ?4: those without an end of their own
-- end at ?5.
UPDATE files
SET expires_ms = ?5
WHERE expires_ms IS NULL
  AND job_id IN (
    SELECT id
    FROM jobs
    WHERE keep_io = ?1
      AND finished_ms <= ?2
      AND (?4 = 0 OR seq > (SELECT through_seq FROM kept_for_ever))
      AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.job_seq = jobs.seq AND next_ms IS NOT NULL)
    ORDER BY finished_ms
    LIMIT ?3
)
