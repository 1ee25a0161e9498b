-- A key's limit counts what runs: what waits is the queue's matter. `enqueue` stays for programs of the version before.

-- Accepts a job, or says why not: `new` with its number and how many of its endpoint go before it, `exists`,
-- `repeated` with the id of the job of then, `word_reused`, `waiting` and `at_work` with how many, or `crowded`: so
-- near to the limit of the waiting that it has to be asked again with p_strict. A job with a status ends at once.
CREATE FUNCTION accept(
    p_now bigint, p_id text, p_endpoint text, p_input text, p_options text, p_key_id text, p_priority smallint,
    p_start_by_ms bigint, p_webhook text, p_hint text, p_keep_io boolean,
    p_max_waiting bigint, p_max_at_work bigint, p_word text, p_digest bytea, p_strict boolean,
    p_end_state text, p_status integer, p_body text, p_headers text, p_error text, p_error_type text,
    p_inference_ms bigint,
    OUT verdict text, OUT accepted bigint, OUT number bigint, OUT earlier text, OUT delivery boolean
) LANGUAGE plpgsql AS $$
DECLARE
    -- More than there are connections, and so more than there are jobs about to be accepted that nobody sees yet.
    margin CONSTANT bigint := 1000;
    the_caller CONSTANT text := coalesce('k' || p_key_id, '');
    the_word words;
    the_job jobs;
    in_all bigint;
    at_work bigint;
BEGIN
    delivery := false;
    IF p_word IS NOT NULL THEN
        -- Whoever says the same word at the same time waits here, and then finds it.
        PERFORM pg_advisory_xact_lock(lock_number('word', the_caller || ' ' || p_word));
        SELECT * INTO the_word FROM words WHERE caller = the_caller AND word = p_word;
        IF FOUND THEN
            verdict := CASE WHEN the_word.digest = p_digest THEN 'repeated' ELSE 'word_reused' END;
            SELECT id INTO earlier FROM jobs WHERE seq = the_word.job_seq;
            RETURN;
        END IF;
    END IF;

    -- Far from the limit all may count at the same time. Near to it they do one after the other, after all those who
    -- thought they were far from it.
    IF p_max_waiting IS NOT NULL THEN
        IF p_strict THEN
            PERFORM pg_advisory_xact_lock(lock_number('waiting', p_endpoint));
        ELSE
            PERFORM pg_advisory_xact_lock_shared(lock_number('waiting', p_endpoint));
        END IF;
    END IF;

    SELECT coalesce(sum(shards.number) FILTER (WHERE priority <= p_priority), 0), coalesce(sum(shards.number), 0)
    INTO number, in_all
    FROM waiting AS shards WHERE endpoint = p_endpoint;
    IF in_all > p_max_waiting THEN
        verdict := 'waiting';
        number := in_all;
        RETURN;
    END IF;
    IF p_max_at_work IS NOT NULL THEN
        SELECT count(*) FROM jobs WHERE lease_expires_ms IS NOT NULL AND caller = the_caller INTO at_work;
        IF at_work >= p_max_at_work THEN
            verdict := 'at_work';
            number := at_work;
            RETURN;
        END IF;
    END IF;
    IF NOT p_strict AND in_all + margin > p_max_waiting THEN
        verdict := 'crowded';
        RETURN;
    END IF;

    INSERT INTO jobs (id, endpoint, key_id, priority, start_by_ms, webhook, hint, keep_io, state, created_ms)
    VALUES (p_id, p_endpoint, p_key_id, p_priority, p_start_by_ms, p_webhook, p_hint, p_keep_io, 'queued', p_now)
    ON CONFLICT (id) DO NOTHING
    RETURNING * INTO the_job;
    IF the_job.seq IS NULL THEN
        verdict := 'exists';
        RETURN;
    END IF;
    INSERT INTO inputs (job_seq, input, options) VALUES (the_job.seq, p_input, p_options);
    IF p_word IS NOT NULL THEN
        INSERT INTO words (caller, word, digest, job_seq) VALUES (the_caller, p_word, p_digest, the_job.seq);
    END IF;
    IF p_status IS NULL THEN
        PERFORM now_waiting(the_job, 1);
    ELSE
        -- It was never in the queue.
        the_job.state := NULL;
        PERFORM put_outcome(the_job.seq, p_status, p_body, p_headers, p_error, p_error_type, p_inference_ms);
        delivery := end_job(p_now, the_job, p_end_state, NULL);
        number := 0;
    END IF;
    verdict := 'new';
    accepted := the_job.seq;
END $$;
