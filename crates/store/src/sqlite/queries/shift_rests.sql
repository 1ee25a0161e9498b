-- At ?1, brings the ends of rests beyond ?2 nearer by ?3, but not beyond ?4.
UPDATE jobs SET not_before_ms = max(?1, min(not_before_ms - ?3, ?4)) WHERE state = 'queued' AND not_before_ms > ?2
