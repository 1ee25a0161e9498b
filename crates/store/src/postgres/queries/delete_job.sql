-- Deletes the ended job $1. No row when there is none; else one per file, as it was, or one without a file.
WITH gone AS (
    DELETE FROM jobs
    WHERE id = $1 AND finished_ms IS NOT NULL
    RETURNING id
)
SELECT files.*
FROM gone
LEFT JOIN files ON files.job_id = gone.id
ORDER BY files.path
