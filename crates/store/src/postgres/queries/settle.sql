-- Settles a new connection. $1 how long it waits for locks, in milliseconds.
SELECT
    -- Acknowledged means on disk. Stricter settings stay.
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
               ELSE current_setting('synchronous_commit') END, false),
    set_config('lock_timeout', $1, false),
    -- Every query here has its index. Without these a plan made while the queue was short would be kept while it grows.
    set_config('enable_seqscan', 'off', false),
    set_config('enable_bitmapscan', 'off', false),
    -- One plan per statement, and no machine code: planning and compiling would take longer than the queries themselves.
    set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('jit', 'off', false)
