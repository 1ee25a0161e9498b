-- The same as in version 1, in words that say what happened.
-- Takes back the leases that have expired: what became of each job, `requeued`, `cancelled` or `set_aside`.
CREATE OR REPLACE FUNCTION reclaim_expired(
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
        stopped := format('worker %s gave no more signs of life', the_job.worker);
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
