-- Version 3: what pages show of workers.

CREATE TABLE workers (
    name     text   COLLATE "C" PRIMARY KEY,
    about    text   NOT NULL,                        -- JSON
    since_ms bigint NOT NULL,
    seen_ms  bigint NOT NULL
);
