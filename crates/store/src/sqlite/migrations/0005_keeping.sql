-- Version 5: interrupted jobs go first, pictures of inputs are files, results are kept for a while, writes are proved.

-- Whether its last attempt ended because the worker went away: it had its turn, and goes before those that came later.
ALTER TABLE jobs ADD COLUMN interrupted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_interrupted ON jobs (priority, seq) WHERE state = 'queued' AND interrupted = 1;

-- The files that inputs refer to. A copy of a job shares them; they go with the last job that has them.
CREATE TABLE given_files (
    path    TEXT    NOT NULL REFERENCES files (path) ON DELETE CASCADE,
    job_seq INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    PRIMARY KEY (path, job_seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX given_files_of_job ON given_files (job_seq);

-- Whoever deletes a job need not think of them.
CREATE TRIGGER given_files_leave AFTER DELETE ON given_files
WHEN NOT EXISTS (SELECT 1 FROM given_files WHERE path = old.path) BEGIN
    UPDATE files SET expires_ms = 0 WHERE path = old.path;
END;

-- Jobs up to this number are of the time when results were kept until somebody deleted them.
CREATE TABLE kept_for_ever (through_seq INTEGER NOT NULL) STRICT;
INSERT INTO kept_for_ever (through_seq) SELECT coalesce(max(seq), 0) FROM jobs;

-- One row that is written anew to prove that the database can be written.
CREATE TABLE probe (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    at_ms INTEGER NOT NULL,
    room  BLOB    NOT NULL
) STRICT;
