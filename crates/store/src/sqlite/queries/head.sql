-- The job of key ?1 (null: the jobs without one) and priority ?2 that goes first: of each endpoint the first that may
-- go, of those the earliest. ?3 now, ?4 JSON array of endpoints or null for all, ?5 the worker's process, ?6 how long
-- a job waits for the worker of its hint, ?7 how long a worker keeps a hint.
SELECT min(head) AS seq
FROM (
    SELECT (
        SELECT seq
        FROM jobs
        WHERE endpoint = waiting.endpoint
          AND priority = waiting.priority
          AND key_id IS ?1
          AND state = 'queued'
          -- The resting have been woken in time.
          AND not_before_ms IS NULL
          -- Too late to be worth starting: somebody ends it with a proper outcome instead.
          AND (start_by_ms IS NULL OR start_by_ms > ?3)
          -- Another worker is warm for it.
          AND (hint IS NULL OR created_ms <= ?3 - ?6 OR NOT EXISTS (
              SELECT 1
              FROM hints
              WHERE hints.hint = jobs.hint AND hints.process <> ?5 AND hints.served_ms > ?3 - ?7
          ))
        -- First in, first out. A job that came back has kept its seq and goes first again.
        ORDER BY seq
        LIMIT 1
    ) AS head
    FROM waiting
    WHERE priority = ?2
      AND number > 0
      -- Only what this worker can run.
      AND (?4 IS NULL OR endpoint IN (SELECT value FROM json_each(?4)))
)
