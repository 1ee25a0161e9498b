-- Version 4: the last words of a run in the transaction of its end.

-- Appends events, where the lease still holds, and then does what finish does.
CREATE FUNCTION finish_with_words(
    p_now bigint, p_id text, p_attempt bigint, p_again boolean, p_state text, p_state_if_cancelled text,
    p_status integer, p_body text, p_headers text, p_error text, p_error_type text, p_inference_ms bigint,
    p_paths text[], p_content_types text[], p_bytes bigint[], p_created_ms bigint[], p_expires_ms bigint[],
    p_owners text[], p_access text[], p_at_ms bigint[], p_preview boolean[], p_data text[],
    OUT accepted boolean, OUT delivery boolean
) LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_data) > 0 THEN
        PERFORM log(p_id, p_attempt, p_at_ms, p_preview, p_data);
    END IF;
    SELECT ended.accepted, ended.delivery INTO accepted, delivery
    FROM finish(
        p_now, p_id, p_attempt, p_again, p_state, p_state_if_cancelled, p_status, p_body, p_headers, p_error,
        p_error_type, p_inference_ms, p_paths, p_content_types, p_bytes, p_created_ms, p_expires_ms, p_owners, p_access
    ) AS ended;
END $$;
