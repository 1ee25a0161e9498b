-- Writes on behalf of workers: claim, start, log, finish, release; and taking back what they lost.

-- Whether another worker's process has served this hint since then.
CREATE FUNCTION served_elsewhere(p_hint text, p_process text, p_since bigint) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT EXISTS (SELECT FROM hints WHERE hint = p_hint AND process <> p_process AND served_ms > p_since)
$$;

-- The heads of a caller's lanes: of each endpoint the first job that may go. Each lane is found with one look into the
-- index behind the one before.
CREATE FUNCTION heads(
    p_priority smallint, p_caller text, p_endpoints text[], p_now bigint, p_process text, p_first_ms bigint,
    p_since bigint
) RETURNS TABLE (lane text, head bigint) STABLE LANGUAGE sql AS $$
    WITH RECURSIVE lanes AS (
        (
            SELECT endpoint
            FROM jobs
            WHERE state = 'queued' AND priority = p_priority AND caller = p_caller
            ORDER BY endpoint
            LIMIT 1
        )
        UNION ALL
        SELECT next.endpoint
        FROM lanes
        CROSS JOIN LATERAL (
            SELECT endpoint
            FROM jobs
            WHERE state = 'queued' AND priority = p_priority AND caller = p_caller AND endpoint > lanes.endpoint
            ORDER BY endpoint
            LIMIT 1
        ) AS next
    )
    SELECT lanes.endpoint, first.seq
    FROM lanes
    CROSS JOIN LATERAL (
        SELECT seq
        FROM jobs
        WHERE state = 'queued' AND priority = p_priority AND caller = p_caller AND endpoint = lanes.endpoint
          -- The same three conditions as in claim.
          AND (start_by_ms IS NULL OR start_by_ms > p_now)
          AND (not_before_ms IS NULL OR not_before_ms <= p_now)
          AND (hint IS NULL OR created_ms + p_first_ms <= p_now OR NOT served_elsewhere(hint, p_process, p_since))
        ORDER BY seq
        LIMIT 1
    ) AS first
    -- Only what this worker can run.
    WHERE p_endpoints IS NULL OR lanes.endpoint = ANY (p_endpoints)
$$;

-- Whose turn it is, in order: normal before low; then who has the fewest at work; then who waited longest for a turn;
-- those who never had one in the order they came.
CREATE FUNCTION whose_turn(
    p_endpoints text[], p_now bigint, p_process text, p_per_key bigint, p_first_ms bigint, p_since bigint
) RETURNS TABLE (priority smallint, caller text) STABLE LANGUAGE sql AS $$
    WITH RECURSIVE queues AS (
        (SELECT priority, caller FROM jobs WHERE state = 'queued' ORDER BY priority, caller LIMIT 1)
        UNION ALL
        SELECT next.*
        FROM queues
        CROSS JOIN LATERAL (
            SELECT priority, caller
            FROM jobs
            WHERE state = 'queued' AND (priority, caller) > (queues.priority, queues.caller)
            ORDER BY priority, caller
            LIMIT 1
        ) AS next
    ),
    -- Few: not more than there are workers.
    at_work AS MATERIALIZED (
        SELECT caller, count(*) AS jobs FROM jobs WHERE lease_expires_ms IS NOT NULL GROUP BY caller
    ),
    parties AS MATERIALIZED (
        SELECT queues.priority, caller, coalesce(at_work.jobs, 0) AS at_work,
               (SELECT max(turn) FROM jobs WHERE jobs.caller = queues.caller AND turn IS NOT NULL) AS turn
        FROM queues
        LEFT JOIN at_work USING (caller)
        -- A key at its limit waits; those without a key know none.
        WHERE p_per_key IS NULL OR caller = '' OR coalesce(at_work.jobs, 0) < p_per_key
    )
    SELECT priority, caller
    FROM parties
    ORDER BY priority, at_work, turn NULLS FIRST, CASE WHEN turn IS NULL THEN (
        SELECT min(head) FROM heads(priority, caller, p_endpoints, p_now, p_process, p_first_ms, p_since)
    ) END
$$;

-- Leases the next job and returns it, at most one row. A job with a hint is left for p_first_ms to another process that
-- has served the hint after p_since.
CREATE FUNCTION claim(
    p_now bigint, p_worker text, p_process text, p_endpoints text[], p_expires_ms bigint, p_per_key bigint,
    p_first_ms bigint, p_since bigint
) RETURNS SETOF whole_jobs LANGUAGE plpgsql AS $$
DECLARE
    party record;
    the_lane text;
    the_job jobs;
BEGIN
    <<turns>>
    FOR party IN SELECT * FROM whose_turn(p_endpoints, p_now, p_process, p_per_key, p_first_ms, p_since) LOOP
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
        not_before_ms = NULL, turn = nextval('turns')
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

-- The worker begins to run the job: whether it was asked to cancel, and whether this is news. No row: lost.
CREATE FUNCTION start(p_now bigint, p_id text, p_attempt bigint)
RETURNS TABLE (cancel boolean, news boolean) LANGUAGE plpgsql AS $$
DECLARE
    the_job jobs := held(p_id, p_attempt);
BEGIN
    IF the_job.seq IS NULL THEN
        RETURN;
    END IF;
    IF the_job.state = 'leased' THEN
        UPDATE jobs SET state = 'running', started_ms = p_now WHERE seq = the_job.seq;
        PERFORM entered(p_now, the_job, 'running', NULL);
    END IF;
    RETURN QUERY SELECT the_job.cancel_requested, the_job.state = 'leased';
END $$;

-- Appends events: whether the job was asked to cancel. No row: lost.
CREATE FUNCTION log(p_id text, p_attempt bigint, p_at_ms bigint[], p_preview boolean[], p_data text[])
RETURNS TABLE (cancel boolean) LANGUAGE plpgsql AS $$
DECLARE
    the_job jobs := held(p_id, p_attempt);
BEGIN
    IF the_job.seq IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO events (job_seq, attempt, at_ms, preview, data)
    SELECT the_job.seq, the_job.attempt, new.at_ms, new.preview, new.data
    FROM unnest(p_at_ms, p_preview, p_data) WITH ORDINALITY AS new (at_ms, preview, data, place)
    ORDER BY new.place;
    RETURN QUERY SELECT the_job.cancel_requested;
END $$;

-- Ends the job of this attempt with an outcome and files. Unlike the other words of a worker this one is heard even
-- after its lease was taken away, as long as nobody else has claimed the job: the work is done, and throwing it away
-- would help nobody. With p_again it is said once more, because the first answer was lost: what was written then counts.
CREATE FUNCTION finish(
    p_now bigint, p_id text, p_attempt bigint, p_again boolean, p_state text, p_state_if_cancelled text,
    p_status integer, p_body text, p_headers text, p_error text, p_error_type text, p_inference_ms bigint,
    p_paths text[], p_content_types text[], p_bytes bigint[], p_created_ms bigint[], p_expires_ms bigint[],
    p_owners text[], p_access text[],
    OUT accepted boolean, OUT delivery boolean
) LANGUAGE plpgsql AS $$
DECLARE
    the_job jobs;
BEGIN
    accepted := false;
    delivery := false;
    SELECT * INTO the_job FROM jobs WHERE id = p_id AND attempt = p_attempt FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF the_job.finished_ms IS NOT NULL THEN
        accepted := p_again AND EXISTS (
            SELECT FROM outcomes
            WHERE job_seq = the_job.seq AND status = p_status AND body = p_body AND headers = p_headers
              AND error IS NOT DISTINCT FROM p_error AND inference_ms IS NOT DISTINCT FROM p_inference_ms
        );
        delivery := accepted AND the_job.webhook IS NOT NULL;
        RETURN;
    END IF;
    accepted := true;
    PERFORM put_outcome(the_job.seq, p_status, p_body, p_headers, p_error, p_error_type, p_inference_ms);
    delivery := end_job(
        p_now, the_job, CASE WHEN the_job.cancel_requested THEN p_state_if_cancelled ELSE p_state END, NULL
    );
    FOR i IN 1 .. cardinality(p_paths) LOOP
        INSERT INTO files (path, job_id, content_type, bytes, created_ms, expires_ms, owner, access)
        VALUES (p_paths[i], p_id, p_content_types[i], p_bytes[i], p_created_ms[i], p_expires_ms[i], p_owners[i],
                p_access[i])
        ON CONFLICT (path) DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the file exists' USING ERRCODE = 'SC001', DETAIL = p_paths[i];
        END IF;
    END LOOP;
END $$;

-- Gives the job back; ends it when it was asked to cancel. The endpoint when it is in the queue again. No row: lost.
CREATE FUNCTION release(
    p_now bigint, p_id text, p_attempt bigint, p_drained boolean, p_reason text, p_not_before_ms bigint
) RETURNS TABLE (endpoint text, delivery boolean) LANGUAGE plpgsql AS $$
DECLARE
    the_job jobs := held(p_id, p_attempt);
BEGIN
    IF the_job.seq IS NULL THEN
        RETURN;
    END IF;
    IF the_job.cancel_requested THEN
        RETURN QUERY SELECT NULL, end_job(p_now, the_job, 'cancelled', NULL);
    ELSE
        PERFORM requeue(p_now, the_job, p_reason, p_drained::integer, 0, p_not_before_ms);
        RETURN QUERY SELECT the_job.endpoint, false;
    END IF;
END $$;

-- Takes back the leases that have expired: what became of each job, `requeued`, `cancelled` or `set_aside`.
CREATE FUNCTION reclaim_expired(
    p_now bigint, p_max_attempts bigint, p_max_crashes bigint, p_state text,
    p_status integer, p_body text, p_headers text, p_error text, p_error_type text, p_inference_ms bigint
) RETURNS TABLE (id text, endpoint text, fate text, delivery boolean) LANGUAGE plpgsql AS $$
DECLARE
    the_job jobs;
    stopped text;
BEGIN
    -- What somebody else is writing just now is not lost.
    FOR the_job IN
        SELECT * FROM jobs WHERE lease_expires_ms <= p_now ORDER BY lease_expires_ms, seq FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        id := the_job.id;
        endpoint := the_job.endpoint;
        delivery := false;
        stopped := format('worker %s stopped beating', the_job.worker);
        IF the_job.cancel_requested THEN
            fate := 'cancelled';
            delivery := end_job(p_now, the_job, 'cancelled', stopped);
        ELSIF the_job.crashes + 1 >= p_max_crashes OR the_job.attempt - the_job.drained >= p_max_attempts THEN
            fate := 'set_aside';
            the_job.crashes := the_job.crashes + 1;
            stopped := format(
                '%s; set aside after %s attempts and %s crashes', stopped, the_job.attempt, the_job.crashes
            );
            PERFORM put_outcome(the_job.seq, p_status, p_body, p_headers, p_error, p_error_type, p_inference_ms);
            delivery := end_job(p_now, the_job, p_state, stopped);
        ELSE
            fate := 'requeued';
            PERFORM requeue(p_now, the_job, stopped, 0, 1, NULL);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
