-- At ?1, brings deliveries that are due beyond ?2 nearer by ?3, but not beyond ?4.
UPDATE deliveries SET next_ms = max(?1, min(next_ms - ?3, ?4)) WHERE next_ms > ?2
