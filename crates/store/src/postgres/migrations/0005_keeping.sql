-- Version 5: interrupted jobs go first, pictures of inputs are files, results are kept for a while, writes are proved.

-- Whether its last attempt ended because the worker went away: it had its turn, and goes before those that came later.
ALTER TABLE jobs ADD COLUMN interrupted boolean NOT NULL DEFAULT false;
CREATE INDEX jobs_interrupted ON jobs (priority, seq) WHERE state = 'queued' AND interrupted;

-- The files that inputs refer to. A copy of a job shares them; they go with the last job that has them.
CREATE TABLE given_files (
    path    text   COLLATE "C" NOT NULL REFERENCES files (path) ON DELETE CASCADE,
    job_seq bigint NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    PRIMARY KEY (path, job_seq)
);

CREATE INDEX given_files_of_job ON given_files (job_seq);

-- Whoever deletes a job need not think of them.
CREATE FUNCTION given_file_leaves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM given_files WHERE path = old.path) THEN
        UPDATE files SET expires_ms = 0 WHERE path = old.path;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER given_files_leave AFTER DELETE ON given_files FOR EACH ROW EXECUTE FUNCTION given_file_leaves();

-- Jobs up to this number are of the time when results were kept until somebody deleted them.
CREATE TABLE kept_for_ever (through_seq bigint NOT NULL);
INSERT INTO kept_for_ever (through_seq) SELECT coalesce(max(seq), 0) FROM jobs;

-- One row that is written anew to prove that the database can be written.
CREATE TABLE probe (
    id    integer PRIMARY KEY CHECK (id = 1),
    at_ms bigint  NOT NULL
);

-- Puts a job back at its old place in the queue; before everybody's turn where its worker went away.
CREATE OR REPLACE FUNCTION requeue(
    p_now bigint, p_job jobs, p_reason text, p_drained integer, p_crashed integer, p_not_before_ms bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs
    SET state = 'queued', worker = NULL, lease_expires_ms = NULL, drained = drained + p_drained,
        crashes = crashes + p_crashed, not_before_ms = p_not_before_ms, interrupted = p_drained + p_crashed > 0
    WHERE seq = p_job.seq;
    PERFORM now_waiting(p_job, 1);
    PERFORM entered(p_now, p_job, 'queued', p_reason);
END $$;

-- Leases the next job and returns it, at most one row. A job with a hint is left for p_first_ms to another process that
-- has served the hint after p_since.
CREATE OR REPLACE FUNCTION claim(
    p_now bigint, p_worker text, p_process text, p_endpoints text[], p_expires_ms bigint, p_per_key bigint,
    p_first_ms bigint, p_since bigint
) RETURNS SETOF whole_jobs LANGUAGE plpgsql AS $$
DECLARE
    party record;
    interrupted_one record;
    the_lane text;
    the_job jobs;
    the_head bigint;
    looked smallint := -1;
BEGIN
    <<turns>>
    FOR party IN SELECT * FROM whose_turn(p_endpoints, p_now, p_process, p_per_key, p_first_ms, p_since) LOOP
        -- Those whose worker went away had their turn: they go before the turns of those that came later.
        IF party.priority <> looked AND EXISTS (
            SELECT FROM jobs WHERE state = 'queued' AND interrupted AND priority = party.priority
        ) THEN
            SELECT min(head) INTO the_head
            FROM heads(party.priority, party.caller, p_endpoints, p_now, p_process, p_first_ms, p_since);
            IF the_head IS NULL THEN
                CONTINUE;
            END IF;
            looked := party.priority;
            FOR interrupted_one IN
                SELECT jobs.seq, jobs.caller
                FROM jobs
                WHERE state = 'queued' AND interrupted AND priority = party.priority AND seq < the_head
                  AND (p_endpoints IS NULL OR endpoint = ANY (p_endpoints))
                ORDER BY seq
            LOOP
                BEGIN
                    IF p_per_key IS NOT NULL AND interrupted_one.caller <> '' THEN
                        PERFORM pg_advisory_xact_lock(lock_number('turn', interrupted_one.caller));
                        IF p_per_key <= (
                            SELECT count(*) FROM jobs
                            WHERE lease_expires_ms IS NOT NULL AND caller = interrupted_one.caller
                        ) THEN
                            RAISE EXCEPTION 'the key is at its limit' USING ERRCODE = 'SC002';
                        END IF;
                    END IF;
                    SELECT jobs.* INTO the_job
                    FROM jobs
                    WHERE seq = interrupted_one.seq AND state = 'queued' AND interrupted
                      -- The same three conditions as below.
                      AND (start_by_ms IS NULL OR start_by_ms > p_now)
                      AND (not_before_ms IS NULL OR not_before_ms <= p_now)
                      AND (hint IS NULL OR created_ms + p_first_ms <= p_now
                           OR NOT served_elsewhere(hint, p_process, p_since))
                    FOR NO KEY UPDATE SKIP LOCKED;
                    IF NOT FOUND THEN
                        RAISE EXCEPTION 'others were faster' USING ERRCODE = 'SC002';
                    END IF;
                    EXIT turns;
                EXCEPTION WHEN SQLSTATE 'SC002' THEN
                    the_job := NULL;
                END;
            END LOOP;
        END IF;
        FOR the_lane IN
            -- First in, first out.
            SELECT lane
            FROM heads(party.priority, party.caller, p_endpoints, p_now, p_process, p_first_ms, p_since)
            ORDER BY head
        LOOP
            -- A block of its own lets the lock go when nothing comes of it: whoever waits for a second one holds no
            -- first.
            BEGIN
                IF p_per_key IS NOT NULL AND party.caller <> '' THEN
                    -- One claim of a key at a time, and each counts those before it.
                    PERFORM pg_advisory_xact_lock(lock_number('turn', party.caller));
                    IF p_per_key <= (
                        SELECT count(*) FROM jobs WHERE lease_expires_ms IS NOT NULL AND caller = party.caller
                    ) THEN
                        RAISE EXCEPTION 'the key is at its limit' USING ERRCODE = 'SC002';
                    END IF;
                END IF;
                SELECT jobs.* INTO the_job
                FROM jobs
                WHERE state = 'queued' AND priority = party.priority AND caller = party.caller AND endpoint = the_lane
                  -- Too late to be worth starting: somebody ends it with a proper outcome instead.
                  AND (start_by_ms IS NULL OR start_by_ms > p_now)
                  -- Rests.
                  AND (not_before_ms IS NULL OR not_before_ms <= p_now)
                  -- Somebody else does it faster, if they come soon.
                  AND (hint IS NULL OR created_ms + p_first_ms <= p_now
                       OR NOT served_elsewhere(hint, p_process, p_since))
                -- A job that came back has kept its number and goes first again.
                ORDER BY seq
                LIMIT 1
                FOR NO KEY UPDATE SKIP LOCKED;
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'others were faster' USING ERRCODE = 'SC002';
                END IF;
                EXIT turns;
            EXCEPTION WHEN SQLSTATE 'SC002' THEN
                the_job := NULL;
            END;
        END LOOP;
    END LOOP;
    IF the_job.seq IS NULL THEN
        RETURN;
    END IF;

    UPDATE jobs
    SET state = 'leased', attempt = attempt + 1, worker = p_worker, lease_expires_ms = p_expires_ms,
        not_before_ms = NULL, turn = nextval('turns'), interrupted = false
    WHERE seq = the_job.seq
    RETURNING * INTO the_job;
    PERFORM now_waiting(the_job, -1);
    PERFORM entered(p_now, the_job, 'leased', 'claimed by ' || p_worker);
    IF the_job.hint IS NOT NULL THEN
        INSERT INTO hints (hint, process, served_ms) VALUES (the_job.hint, p_process, p_now)
        ON CONFLICT (hint) DO UPDATE SET process = excluded.process, served_ms = excluded.served_ms;
    END IF;
    RETURN QUERY SELECT * FROM whole_jobs WHERE seq = the_job.seq;
END $$;

-- Accepts a job as `accept` does, and records the files that its input refers to. Those of a copy are there already.
CREATE FUNCTION accept_with_files(
    p_now bigint, p_id text, p_endpoint text, p_input text, p_options text, p_key_id text, p_priority smallint,
    p_start_by_ms bigint, p_webhook text, p_hint text, p_keep_io boolean,
    p_max_waiting bigint, p_max_at_work bigint, p_word text, p_digest bytea, p_strict boolean,
    p_end_state text, p_status integer, p_body text, p_headers text, p_error text, p_error_type text,
    p_inference_ms bigint,
    p_paths text[], p_content_types text[], p_bytes bigint[], p_created_ms bigint[], p_expires_ms bigint[],
    p_owners text[], p_access text[],
    OUT verdict text, OUT accepted bigint, OUT number bigint, OUT earlier text, OUT delivery boolean
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT asked.verdict, asked.accepted, asked.number, asked.earlier, asked.delivery
    INTO verdict, accepted, number, earlier, delivery
    FROM accept(
        p_now, p_id, p_endpoint, p_input, p_options, p_key_id, p_priority, p_start_by_ms, p_webhook, p_hint, p_keep_io,
        p_max_waiting, p_max_at_work, p_word, p_digest, p_strict, p_end_state, p_status, p_body, p_headers, p_error,
        p_error_type, p_inference_ms
    ) AS asked;
    IF verdict = 'new' THEN
        INSERT INTO files (path, content_type, bytes, created_ms, expires_ms, owner, access)
        SELECT * FROM unnest(p_paths, p_content_types, p_bytes, p_created_ms, p_expires_ms, p_owners, p_access)
        ON CONFLICT (path) DO NOTHING;
        INSERT INTO given_files (path, job_seq) SELECT given.path, accepted FROM unnest(p_paths) AS given (path);
    END IF;
END $$;
