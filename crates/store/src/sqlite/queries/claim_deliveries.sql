-- Takes up to ?2 deliveries that are due at ?1, the longest due first, until ?3 if nobody had them before, else until ?4:
-- who has not said by then how it went is taken to be gone.
UPDATE deliveries
SET attempt = attempt + 1, next_ms = CASE attempt WHEN 0 THEN ?3 ELSE ?4 END
WHERE id IN (SELECT id FROM deliveries WHERE next_ms <= ?1 ORDER BY next_ms, id LIMIT ?2)
RETURNING *, (SELECT id FROM jobs WHERE seq = job_seq) AS job_id
