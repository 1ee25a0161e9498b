-- How many jobs go before job ?1: those of a better priority and, of its own, the earlier ones. No row when it is not
-- in the queue.
SELECT (
    SELECT coalesce(sum(number), 0)
    FROM waiting
    WHERE waiting.endpoint = mine.endpoint AND waiting.priority < mine.priority
) + (
    SELECT count(*)
    FROM jobs AS ahead INDEXED BY jobs_lanes
    WHERE ahead.endpoint = mine.endpoint
      AND ahead.priority = mine.priority
      AND ahead.state = 'queued'
      AND ahead.seq < mine.seq
) AS ahead
FROM jobs AS mine
WHERE mine.id = ?1 AND mine.state = 'queued'
