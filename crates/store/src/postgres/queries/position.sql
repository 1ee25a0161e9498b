-- How many jobs go before job $1. No row when it is not in the queue.
SELECT (
    SELECT count(*)
    FROM jobs AS ahead
    WHERE ahead.endpoint = mine.endpoint
      AND ahead.state = 'queued'
      AND ahead.finished_ms IS NULL -- implied; lets PostgreSQL use the index of the living
      AND (ahead.priority, ahead.seq) < (mine.priority, mine.seq)
) AS ahead
FROM jobs AS mine
WHERE mine.id = $1 AND mine.state = 'queued'
