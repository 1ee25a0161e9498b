-- When the first job of each endpoint's queue was accepted: from the head of one lane to that of the next, up to so many.
WITH RECURSIVE lanes AS (
    (
        SELECT priority, caller, endpoint
        FROM jobs
        WHERE state = 'queued'
        ORDER BY priority, caller, endpoint
        LIMIT 1
    )
    UNION ALL
    SELECT next.priority, next.caller, next.endpoint
    FROM lanes, LATERAL (
        SELECT priority, caller, endpoint
        FROM jobs
        WHERE state = 'queued' AND (priority, caller, endpoint) > (lanes.priority, lanes.caller, lanes.endpoint)
        ORDER BY priority, caller, endpoint
        LIMIT 1
    ) AS next
)
SELECT lane.endpoint, min(first.created_ms) AS created_ms
FROM (SELECT * FROM lanes LIMIT 1000) AS lane, LATERAL (
    SELECT created_ms
    FROM jobs
    WHERE state = 'queued'
      AND priority = lane.priority
      AND caller = lane.caller
      AND endpoint = lane.endpoint
      -- Who rests is not in line.
      AND (not_before_ms IS NULL OR not_before_ms <= $1)
    ORDER BY seq
    LIMIT 1
) AS first
GROUP BY lane.endpoint
