-- At ?1, brings leases that last beyond ?2 nearer by ?3, but not beyond ?4.
UPDATE jobs SET lease_expires_ms = max(?1, min(lease_expires_ms - ?3, ?4)) WHERE lease_expires_ms > ?2
