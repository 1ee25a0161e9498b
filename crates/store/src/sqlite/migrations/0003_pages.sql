-- Version 3: what pages show of workers.

CREATE TABLE workers (
    name     TEXT    PRIMARY KEY,
    about    TEXT    NOT NULL,                      -- JSON
    since_ms INTEGER NOT NULL,
    seen_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
