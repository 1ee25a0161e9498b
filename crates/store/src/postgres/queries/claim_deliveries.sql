-- Takes up to $2 deliveries that are due at $1, the longest due first, until $3 if nobody had them before, else until
-- $4: who has not said by then how it went is taken to be gone.
WITH due AS (
    SELECT id, next_ms
    FROM deliveries
    WHERE next_ms <= $1
    ORDER BY next_ms, id
    LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE deliveries
    SET attempt = deliveries.attempt + 1, next_ms = CASE deliveries.attempt WHEN 0 THEN $3 ELSE $4 END
    FROM due, jobs
    WHERE deliveries.id = due.id AND jobs.seq = deliveries.job_seq
    RETURNING deliveries.id, deliveries.url, deliveries.attempt, due.next_ms AS was_due_ms, jobs.id AS job_id,
              jobs.finished_ms
)
SELECT * FROM claimed ORDER BY was_due_ms, id
