-- Deletes up to ?3 jobs of callers who want them kept (?1 = 1) or not (?1 = 0), that ended by ?2, the oldest first; where
-- ?4 is 1 those of the time when results were kept for ever stay.
DELETE FROM jobs
WHERE seq IN (
    SELECT seq
    FROM jobs
    WHERE keep_io = ?1
      AND finished_ms <= ?2
      AND (?4 = 0 OR seq > (SELECT through_seq FROM kept_for_ever))
      -- Not while the outcome is still on its way to somebody.
      AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.job_seq = jobs.seq AND next_ms IS NOT NULL)
    ORDER BY finished_ms
    LIMIT ?3
)
