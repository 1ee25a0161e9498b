-- When the first job of each endpoint's queue was accepted: the head of each lane, of up to a thousand keys.
SELECT endpoint, min(head) AS created_ms
FROM (
    SELECT waiting.endpoint AS endpoint, (
        SELECT created_ms
        FROM jobs INDEXED BY jobs_lanes
        WHERE endpoint = waiting.endpoint
          AND priority = waiting.priority
          AND key_id IS parties.key
          AND state = 'queued'
          -- Who rests is not in line.
          AND not_before_ms IS NULL
        ORDER BY seq
        LIMIT 1
    ) AS head
    FROM waiting, (
        SELECT 0 AS priority, nullif(key, '') AS key FROM (SELECT key FROM turns WHERE normal > 0 LIMIT 1000)
        UNION ALL
        SELECT 1, nullif(key, '') FROM (SELECT key FROM turns WHERE low > 0 LIMIT 1000)
    ) AS parties
    WHERE waiting.number > 0 AND waiting.priority = parties.priority
)
WHERE head IS NOT NULL
GROUP BY endpoint
