-- Deletes up to $3 jobs of callers who want them kept ($1) or not, that ended by $2, the oldest first.
DELETE FROM jobs
WHERE seq IN (
    SELECT seq
    FROM jobs
    WHERE keep_io = $1
      AND finished_ms <= $2
      -- Not while the outcome is still on its way to somebody.
      AND NOT EXISTS (SELECT FROM deliveries WHERE deliveries.job_seq = jobs.seq AND next_ms IS NOT NULL)
    ORDER BY finished_ms
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
