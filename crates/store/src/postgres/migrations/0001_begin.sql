-- Version 1: jobs and what belongs to them, deliveries, secrets, keys, file rows.
--
-- Times are milliseconds since 1970. JSON is kept as text, because what a caller sent comes back as it was: the order of
-- keys, numbers beyond 2^53, escaped zeros. Names compare by bytes ("C"), so that no index depends on a locale.

-- What changes while a job lives is kept small and apart from what does not: a heartbeat writes its whole row anew, and
-- inputs with embedded pictures have megabytes.
CREATE TABLE jobs (
    seq              bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of acceptance
    id               text     COLLATE "C" NOT NULL UNIQUE,
    endpoint         text     COLLATE "C" NOT NULL,
    key_id           text     COLLATE "C",
    -- Whose turns a job takes: its key's, or those of everybody without one.
    caller           text     COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce('k' || key_id, '')) STORED,
    priority         smallint NOT NULL,              -- 0 normal, 1 low: smaller goes first
    start_by_ms      bigint,
    not_before_ms    bigint,                         -- rests until then
    webhook          text,                           -- who wants to be told of the outcome
    hint             text     COLLATE "C",           -- would like the worker that served this before
    keep_io          boolean  NOT NULL,
    state            text     COLLATE "C" NOT NULL,  -- queued, leased, running, done, failed, cancelled
    attempt          bigint   NOT NULL DEFAULT 0,    -- claims so far; the latest one's fencing token
    drained          bigint   NOT NULL DEFAULT 0,    -- claims given back by a draining worker
    crashes          bigint   NOT NULL DEFAULT 0,    -- claims whose worker stopped beating
    turn             bigint,                         -- the number of its latest claim among all claims
    worker           text,                           -- who holds the lease; null without a lease
    lease_expires_ms bigint,                         -- null without a lease
    cancel_requested boolean  NOT NULL DEFAULT false, -- a worker has to be told; what the job then ends with is there
    created_ms       bigint   NOT NULL,
    started_ms       bigint,
    finished_ms      bigint                          -- not null exactly in the three end states
) WITH (
    -- A queue turns over quickly, and counting what waits is cheap only behind a recent vacuum.
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- The queue, a lane per priority, caller and endpoint. Claiming looks at the heads of the lanes.
CREATE INDEX jobs_lanes ON jobs (priority, caller, endpoint, seq) WHERE state = 'queued';
-- The living per endpoint, for positions and counts.
CREATE INDEX jobs_living ON jobs (endpoint, state, priority, seq) WHERE finished_ms IS NULL;
-- Who has how many at work.
CREATE INDEX jobs_at_work ON jobs (caller) WHERE lease_expires_ms IS NOT NULL;
-- Who was served when.
CREATE INDEX jobs_turns ON jobs (caller, turn) WHERE turn IS NOT NULL;
-- Leases by their end, for taking back the expired.
CREATE INDEX jobs_leases ON jobs (lease_expires_ms) WHERE lease_expires_ms IS NOT NULL;
-- Start deadlines of the waiting.
CREATE INDEX jobs_start_by ON jobs (start_by_ms) WHERE state = 'queued' AND start_by_ms IS NOT NULL;
-- Lists of one endpoint's or one key's jobs, newest first.
CREATE INDEX jobs_by_endpoint ON jobs (endpoint, seq);
CREATE INDEX jobs_by_key ON jobs (key_id, seq) WHERE key_id IS NOT NULL;
-- The ended by age, for retention.
CREATE INDEX jobs_ended ON jobs (keep_io, finished_ms) WHERE finished_ms IS NOT NULL;

-- How many jobs wait, so that nobody has to count a long queue: the sum over the shards. A shard belongs to few
-- connections, so that writers do not wait for each other; it may well be negative.
CREATE TABLE waiting (
    endpoint text     COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    shard    integer  NOT NULL,
    number   bigint   NOT NULL,
    PRIMARY KEY (endpoint, priority, shard)
) WITH (fillfactor = 50);

-- Numbers the claims of everybody.
CREATE SEQUENCE turns AS bigint;

CREATE TABLE inputs (
    job_seq bigint PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    input   text   NOT NULL,                         -- JSON
    options text   NOT NULL                          -- JSON
);

-- A job has its outcome when it has ended. A row of a living job is what a pending cancel ends it with.
CREATE TABLE outcomes (
    job_seq      bigint  PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    status       integer NOT NULL,
    body         text    NOT NULL,                   -- JSON
    headers      text    NOT NULL,                   -- JSON object of strings
    error        text,
    error_type   text,
    inference_ms bigint
);

-- Whoever writes a job's events holds the job's row, so that their numbers appear in order.
CREATE TABLE events (
    seq     bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_seq bigint  NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    attempt bigint  NOT NULL,
    at_ms   bigint  NOT NULL,
    preview boolean NOT NULL DEFAULT false,          -- forgotten with the end of the job
    data    text    NOT NULL                         -- JSON with a "kind": log, progress, preview or state
);

CREATE INDEX events_of_job ON events (job_seq, seq);
CREATE INDEX events_previews ON events (job_seq) WHERE preview;

-- Which worker's process served a hint last.
CREATE TABLE hints (
    hint      text   COLLATE "C" PRIMARY KEY,
    process   text   NOT NULL,
    served_ms bigint NOT NULL
);

CREATE INDEX hints_served ON hints (served_ms);

-- The words by which callers repeat a submit; each caller's words are its own.
CREATE TABLE words (
    caller  text   COLLATE "C" NOT NULL,
    word    text   COLLATE "C" NOT NULL,
    digest  bytea  NOT NULL,
    job_seq bigint NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    PRIMARY KEY (caller, word)
);

CREATE INDEX words_of_job ON words (job_seq);

CREATE TABLE deliveries (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_seq bigint NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    url     text   NOT NULL,
    state   text   COLLATE "C" NOT NULL DEFAULT 'pending', -- pending, delivered, failed
    attempt bigint NOT NULL DEFAULT 0,               -- claims so far; the latest one's fencing token
    next_ms bigint                                   -- due then, or lost by its claimant; not null exactly when pending
);

CREATE INDEX deliveries_due ON deliveries (next_ms, id) WHERE next_ms IS NOT NULL;
CREATE INDEX deliveries_of_job ON deliveries (job_seq, id);

CREATE TABLE delivery_attempts (
    id          bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id bigint  NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    at_ms       bigint  NOT NULL,
    duration_ms bigint  NOT NULL,
    status      integer,
    error       text
);

CREATE INDEX attempts_of_delivery ON delivery_attempts (delivery_id, id);

CREATE TABLE files (
    path         text   COLLATE "C" PRIMARY KEY,
    job_id       text   COLLATE "C" REFERENCES jobs (id) ON DELETE SET NULL,
    content_type text   NOT NULL,
    bytes        bigint NOT NULL,
    created_ms   bigint NOT NULL,
    expires_ms   bigint,
    owner        text,
    access       text   NOT NULL                     -- JSON
);

CREATE INDEX files_of_job ON files (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX files_expiry ON files (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE keys (
    id           text   COLLATE "C" PRIMARY KEY,
    label        text   NOT NULL,
    secret_hash  bytea  NOT NULL UNIQUE,
    created_ms   bigint NOT NULL,
    last_used_ms bigint,
    revoked_ms   bigint
);

CREATE TABLE secrets (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    purpose    text   COLLATE "C" NOT NULL,
    value      bytea  NOT NULL,
    created_ms bigint NOT NULL
);

-- Jobs with their input and, if they have ended, their outcome.
CREATE VIEW whole_jobs AS
SELECT jobs.*, inputs.input, inputs.options,
       outcomes.status, outcomes.body, outcomes.headers, outcomes.error, outcomes.error_type, outcomes.inference_ms
FROM jobs
JOIN inputs ON inputs.job_seq = jobs.seq
LEFT JOIN outcomes ON outcomes.job_seq = jobs.seq AND jobs.finished_ms IS NOT NULL;
