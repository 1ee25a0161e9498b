-- The steps of a job's life that several writes share. All expect that the job's row is locked.

-- A lock that is held until the end of the transaction, by its number: one per schema, purpose and owner.
CREATE FUNCTION lock_number(p_purpose text, p_owner text) RETURNS bigint STABLE LANGUAGE sql AS $$
    SELECT hashtextextended(concat_ws(' ', 'scumble', current_schema(), p_purpose, p_owner), 0)
$$;

-- The job, if this lease holds it. The lease may have expired, as long as nobody took it away.
CREATE FUNCTION held(p_id text, p_attempt bigint) RETURNS jobs LANGUAGE sql AS $$
    SELECT * FROM jobs WHERE id = p_id AND attempt = p_attempt AND state IN ('leased', 'running') FOR NO KEY UPDATE
$$;

-- One waits more, or one less.
CREATE FUNCTION now_waiting(p_job jobs, p_more integer) RETURNS void LANGUAGE sql AS $$
    INSERT INTO waiting (endpoint, priority, shard, number)
    VALUES (p_job.endpoint, p_job.priority, pg_backend_pid() % 64, p_more)
    ON CONFLICT (endpoint, priority, shard) DO UPDATE SET number = waiting.number + excluded.number
$$;

-- Records that a job entered a state.
CREATE FUNCTION entered(p_now bigint, p_job jobs, p_state text, p_reason text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO events (job_seq, attempt, at_ms, data)
    VALUES (p_job.seq, p_job.attempt, p_now,
            json_build_object('kind', 'state', 'state', p_state, 'reason', p_reason)::text)
$$;

-- Keeps what a job ends with. A pending cancel has left its own there, which an outcome of the worker replaces.
CREATE FUNCTION put_outcome(
    p_seq bigint, p_status integer, p_body text, p_headers text, p_error text, p_error_type text, p_inference_ms bigint
) RETURNS void LANGUAGE sql AS $$
    INSERT INTO outcomes (job_seq, status, body, headers, error, error_type, inference_ms)
    VALUES (p_seq, p_status, p_body, p_headers, p_error, p_error_type, p_inference_ms)
    ON CONFLICT (job_seq) DO UPDATE
    SET status = excluded.status, body = excluded.body, headers = excluded.headers, error = excluded.error,
        error_type = excluded.error_type, inference_ms = excluded.inference_ms
$$;

-- Ends a job whose outcome is there: state, event, delivery; previews are forgotten. Whether there is a delivery.
CREATE FUNCTION end_job(p_now bigint, p_job jobs, p_state text, p_reason text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs
    SET state = p_state, finished_ms = p_now, crashes = p_job.crashes, worker = NULL, lease_expires_ms = NULL,
        not_before_ms = NULL
    WHERE seq = p_job.seq;
    IF p_job.state = 'queued' THEN
        PERFORM now_waiting(p_job, -1);
    END IF;
    IF p_job.attempt > 0 THEN
        DELETE FROM events WHERE job_seq = p_job.seq AND preview;
    END IF;
    PERFORM entered(p_now, p_job, p_state, p_reason);
    IF p_job.webhook IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO deliveries (job_seq, url, next_ms) VALUES (p_job.seq, p_job.webhook, p_now);
    RETURN true;
END $$;

-- Puts a job back at its old place in the queue.
CREATE FUNCTION requeue(
    p_now bigint, p_job jobs, p_reason text, p_drained integer, p_crashed integer, p_not_before_ms bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE jobs
    SET state = 'queued', worker = NULL, lease_expires_ms = NULL, drained = drained + p_drained,
        crashes = crashes + p_crashed, not_before_ms = p_not_before_ms
    WHERE seq = p_job.seq;
    PERFORM now_waiting(p_job, 1);
    PERFORM entered(p_now, p_job, 'queued', p_reason);
END $$;
