-- How many jobs go before job ?1: those of a better priority and, of its own, the earlier ones. No row when it is not
-- in the queue; null when more than ?2 of its own wait, who would have to be counted one by one.
SELECT CASE
    WHEN mine.siblings <= ?2 THEN (
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
    )
END AS ahead
FROM (
    SELECT jobs.endpoint, jobs.priority, jobs.seq, waiting.number AS siblings
    FROM jobs
    JOIN waiting ON waiting.priority = jobs.priority AND waiting.endpoint = jobs.endpoint
    WHERE jobs.id = ?1 AND jobs.state = 'queued'
) AS mine
