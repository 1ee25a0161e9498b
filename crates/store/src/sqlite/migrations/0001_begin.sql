-- Version 1: jobs and what belongs to them, keys, file rows.
--
-- Times are milliseconds since 1970. `seq` is the order of acceptance; it is never reused.

-- What changes while a job lives is kept small and apart from what does not: a heartbeat rewrites its whole row, and
-- inputs with embedded pictures have megabytes.
CREATE TABLE jobs (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    endpoint         TEXT    NOT NULL,
    key_id           TEXT,
    priority         INTEGER NOT NULL,              -- 0 normal, 1 low: smaller goes first
    start_by_ms      INTEGER,
    state            TEXT    NOT NULL,              -- queued, leased, running, done, failed, cancelled
    attempt          INTEGER NOT NULL DEFAULT 0,    -- claims so far; the latest one's fencing token
    drained          INTEGER NOT NULL DEFAULT 0,    -- claims given back by a draining worker
    crashes          INTEGER NOT NULL DEFAULT 0,    -- claims whose worker stopped beating
    worker           TEXT,                          -- who holds the lease; null without a lease
    lease_expires_ms INTEGER,                       -- null without a lease
    cancel_outcome   TEXT,                          -- the outcome of a cancel that a worker has to be told; else null
    created_ms       INTEGER NOT NULL,
    started_ms       INTEGER,
    finished_ms      INTEGER                        -- not null exactly in the three end states
) STRICT;

-- The queue in claiming order. Here and below the index holds everything its query asks, its own condition too, so
-- that passing over jobs of other endpoints does not touch their rows.
CREATE INDEX jobs_queue ON jobs (priority, seq, endpoint, start_by_ms, state) WHERE state = 'queued';
-- The living per endpoint, for positions and counts.
CREATE INDEX jobs_living ON jobs (endpoint, state, priority, seq, finished_ms) WHERE finished_ms IS NULL;
-- Leases by their end, for taking back the expired.
CREATE INDEX jobs_leases ON jobs (lease_expires_ms) WHERE lease_expires_ms IS NOT NULL;
-- Start deadlines of the waiting.
CREATE INDEX jobs_start_by ON jobs (start_by_ms) WHERE state = 'queued' AND start_by_ms IS NOT NULL;
-- Lists of one endpoint's jobs, newest first.
CREATE INDEX jobs_by_endpoint ON jobs (endpoint, seq);

CREATE TABLE inputs (
    job_seq INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    input   TEXT NOT NULL,                          -- JSON
    options TEXT NOT NULL                           -- JSON
) STRICT;

CREATE TABLE outcomes (
    job_seq      INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    status       INTEGER NOT NULL,
    body         TEXT    NOT NULL,                  -- JSON
    headers      TEXT    NOT NULL,                  -- JSON object of strings
    error        TEXT,
    error_type   TEXT,
    inference_ms INTEGER
) STRICT;

CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job_seq INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    data    TEXT    NOT NULL                        -- JSON with a "kind": log, progress or state
) STRICT;

CREATE INDEX events_of_job ON events (job_seq, seq);

CREATE TABLE files (
    path         TEXT    PRIMARY KEY,
    job_id       TEXT    REFERENCES jobs (id) ON DELETE SET NULL,
    content_type TEXT    NOT NULL,
    bytes        INTEGER NOT NULL,
    created_ms   INTEGER NOT NULL,
    expires_ms   INTEGER
) STRICT;

CREATE INDEX files_of_job ON files (job_id) WHERE job_id IS NOT NULL;

CREATE TABLE keys (
    id           TEXT    PRIMARY KEY,
    label        TEXT    NOT NULL,
    secret_hash  BLOB    NOT NULL UNIQUE,
    created_ms   INTEGER NOT NULL,
    last_used_ms INTEGER,
    revoked_ms   INTEGER
) STRICT;
