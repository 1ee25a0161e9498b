-- Deletes the ended job $1. No row when there is none; else one per file, as it was, or one without a file. Files that
-- another job's input refers to as well are not among them.
WITH gone AS (
    DELETE FROM jobs
    WHERE id = $1 AND finished_ms IS NOT NULL
    RETURNING id, seq
),
theirs AS (
    SELECT files.* FROM gone JOIN files ON files.job_id = gone.id
    UNION ALL
    SELECT files.*
    FROM gone
    JOIN given_files ON given_files.job_seq = gone.seq
    JOIN files ON files.path = given_files.path
    WHERE NOT EXISTS (
        SELECT FROM given_files AS others WHERE others.path = given_files.path AND others.job_seq <> gone.seq
    )
)
SELECT theirs.*
FROM gone
LEFT JOIN theirs ON true
ORDER BY theirs.path
