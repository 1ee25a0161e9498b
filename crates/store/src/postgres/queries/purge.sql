-- Deletes up to $3 jobs of callers who want them kept ($1) or not, that ended by $2, the oldest first; with $4 those of the
-- time when results were kept for ever stay. Their pictures without an end of their own end at $5, if that is one.
WITH old AS (
    SELECT seq, id
    FROM jobs
    WHERE keep_io = $1
      AND finished_ms <= $2
      AND (NOT $4 OR seq > (SELECT through_seq FROM kept_for_ever))
      -- Not while the outcome is still on its way to somebody.
      AND NOT EXISTS (SELECT FROM deliveries WHERE deliveries.job_seq = jobs.seq AND next_ms IS NOT NULL)
    ORDER BY finished_ms
    LIMIT $3
    FOR UPDATE SKIP LOCKED
),
pictures AS (
    UPDATE files
    SET expires_ms = $5
    FROM old
    WHERE files.job_id = old.id AND files.expires_ms IS NULL AND $5::bigint IS NOT NULL
)
DELETE FROM jobs USING old WHERE jobs.seq = old.seq
