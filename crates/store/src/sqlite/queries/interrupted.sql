-- The job of priority ?1 that goes before all turns of later ones: the earliest of those whose worker went away. ?2 now, ?3 JSON array
-- of endpoints or null for all, ?4 the worker's process, ?5 how long a job waits for the worker of its hint, ?6 how long a
-- worker keeps a hint, ?7 how many may be at work for one key, or null.
SELECT seq
FROM jobs
WHERE priority = ?1
  AND state = 'queued'
  AND interrupted = 1
  -- The same conditions as for everybody else.
  AND not_before_ms IS NULL
  AND (start_by_ms IS NULL OR start_by_ms > ?2)
  AND (?3 IS NULL OR endpoint IN (SELECT value FROM json_each(?3)))
  AND (hint IS NULL OR created_ms <= ?2 - ?5 OR NOT EXISTS (
      SELECT 1
      FROM hints
      WHERE hints.hint = jobs.hint AND hints.process <> ?4 AND hints.served_ms > ?2 - ?6
  ))
  AND (?7 IS NULL OR key_id IS NULL OR (SELECT at_work FROM turns WHERE turns.key = jobs.key_id) < ?7)
ORDER BY seq
LIMIT 1
