-- Version 2: fair turns, admission, rest, hints, webhooks, words, secrets, who may read files.

ALTER TABLE jobs ADD COLUMN not_before_ms INTEGER;          -- rests until then; null once it has woken
ALTER TABLE jobs ADD COLUMN webhook TEXT;                   -- who wants to be told of the outcome
ALTER TABLE jobs ADD COLUMN hint TEXT;                      -- would like the worker that served this before
ALTER TABLE jobs ADD COLUMN keep_io INTEGER NOT NULL DEFAULT 1;

-- The queue: per endpoint, priority and key the awake in order of acceptance. The index holds everything that claiming
-- asks, its own condition too, so that passing over jobs does not touch their rows.
CREATE INDEX jobs_lanes
    ON jobs (endpoint, priority, key_id, not_before_ms, seq, start_by_ms, hint, created_ms, state)
    WHERE state = 'queued';
-- The resting by the end of their rest.
CREATE INDEX jobs_resting ON jobs (not_before_ms) WHERE state = 'queued' AND not_before_ms IS NOT NULL;
-- Lists of one key's jobs, newest first.
CREATE INDEX jobs_by_key ON jobs (key_id, seq) WHERE key_id IS NOT NULL;
-- The ended by age, for retention.
CREATE INDEX jobs_ended ON jobs (keep_io, finished_ms) WHERE finished_ms IS NOT NULL;
-- Two indexes that nothing asks any more; version 1 gets slower without them, not wrong.
DROP INDEX jobs_queue;
DROP INDEX jobs_living;

-- How many jobs wait, so that nobody has to count a long queue.
CREATE TABLE waiting (
    priority INTEGER NOT NULL,
    endpoint TEXT    NOT NULL,
    number   INTEGER NOT NULL,
    PRIMARY KEY (priority, endpoint)
) STRICT, WITHOUT ROWID;

-- Whose turn it is. One row per key that ever had a job; the key '' stands for the jobs without one.
CREATE TABLE turns (
    id      INTEGER PRIMARY KEY,
    key     TEXT    NOT NULL UNIQUE,
    at_work INTEGER NOT NULL DEFAULT 0,             -- jobs leased or running
    served  INTEGER NOT NULL DEFAULT 0,             -- grows with every claim of anybody: the smallest waited longest
    normal  INTEGER NOT NULL DEFAULT 0,             -- jobs waiting with normal priority
    low     INTEGER NOT NULL DEFAULT 0              -- jobs waiting with low priority
) STRICT;

CREATE INDEX turns_normal ON turns (at_work, served) WHERE normal > 0;
CREATE INDEX turns_low ON turns (at_work, served) WHERE low > 0;
CREATE INDEX turns_served ON turns (served);

INSERT INTO waiting (priority, endpoint, number)
SELECT priority, endpoint, count(*) FROM jobs WHERE state = 'queued' GROUP BY priority, endpoint;

INSERT INTO turns (key, at_work, normal, low)
SELECT coalesce(key_id, ''), sum(state <> 'queued'), sum(state = 'queued' AND priority = 0),
       sum(state = 'queued' AND priority = 1)
FROM jobs WHERE finished_ms IS NULL GROUP BY coalesce(key_id, '') ORDER BY min(seq);

-- Triggers keep both tables, so that whoever moves a job cannot forget it; version 1 keeps them too.
CREATE TRIGGER jobs_arrive AFTER INSERT ON jobs WHEN new.state = 'queued' BEGIN
    INSERT INTO waiting (priority, endpoint, number) VALUES (new.priority, new.endpoint, 1)
        ON CONFLICT (priority, endpoint) DO UPDATE SET number = number + 1;
    INSERT INTO turns (key, normal, low) VALUES (coalesce(new.key_id, ''), new.priority = 0, new.priority = 1)
        ON CONFLICT (key) DO UPDATE SET normal = normal + excluded.normal, low = low + excluded.low;
END;

CREATE TRIGGER jobs_wait AFTER UPDATE OF state ON jobs
WHEN (old.state = 'queued') <> (new.state = 'queued') BEGIN
    UPDATE waiting SET number = number + (new.state = 'queued') - (old.state = 'queued')
    WHERE priority = new.priority AND endpoint = new.endpoint;
END;

-- From leased to running nothing changes here.
CREATE TRIGGER jobs_turn AFTER UPDATE OF state ON jobs WHEN old.state <> new.state AND new.state <> 'running' BEGIN
    UPDATE turns
    SET normal = normal + (new.priority = 0) * ((new.state = 'queued') - (old.state = 'queued')),
        low = low + (new.priority = 1) * ((new.state = 'queued') - (old.state = 'queued')),
        at_work = at_work + (new.state = 'leased') - (old.state IN ('leased', 'running')),
        served = CASE new.state WHEN 'leased' THEN (SELECT max(served) FROM turns) + 1 ELSE served END
    WHERE key = coalesce(new.key_id, '');
END;

-- Which worker's process served a hint last.
CREATE TABLE hints (
    hint      TEXT    PRIMARY KEY,
    process   TEXT    NOT NULL,
    served_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX hints_served ON hints (served_ms);

-- The words by which callers repeat a submit; each key's words are its own.
CREATE TABLE words (
    key        TEXT    NOT NULL,                    -- '' for callers without a key
    word       TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    job_seq    INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (key, word)
) STRICT, WITHOUT ROWID;

CREATE INDEX words_of_job ON words (job_seq);

CREATE TABLE deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    job_seq    INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    url        TEXT    NOT NULL,
    state      TEXT    NOT NULL DEFAULT 'pending',  -- pending, delivered, failed
    attempt    INTEGER NOT NULL DEFAULT 0,          -- claims so far; the latest one's fencing token
    next_ms    INTEGER,                             -- due then, or lost by its claimant; not null exactly when pending
    created_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX deliveries_due ON deliveries (next_ms, id) WHERE next_ms IS NOT NULL;
CREATE INDEX deliveries_of_job ON deliveries (job_seq, id);

CREATE TABLE delivery_attempts (
    id          INTEGER PRIMARY KEY,
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    at_ms       INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    status      INTEGER,
    error       TEXT
) STRICT;

CREATE INDEX attempts_of_delivery ON delivery_attempts (delivery_id, id);

-- Previews are forgotten with the end of their job.
ALTER TABLE events ADD COLUMN preview INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_previews ON events (job_seq) WHERE preview = 1;

ALTER TABLE files ADD COLUMN owner TEXT;
ALTER TABLE files ADD COLUMN access TEXT NOT NULL DEFAULT '{"default":"allow"}';
CREATE INDEX files_expiry ON files (expires_ms) WHERE expires_ms IS NOT NULL;

CREATE TABLE secrets (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose    TEXT    NOT NULL,
    value      BLOB    NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
