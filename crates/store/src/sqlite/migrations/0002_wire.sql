-- Version 2: who may read files, and the server's own secrets.

ALTER TABLE jobs ADD COLUMN not_before_ms INTEGER;          -- rests until then
ALTER TABLE jobs ADD COLUMN hint TEXT;                      -- would like the worker that served this before
ALTER TABLE jobs ADD COLUMN keep_io INTEGER NOT NULL DEFAULT 1;
ALTER TABLE inputs ADD COLUMN webhook TEXT;                 -- who wants to be told of the outcome

ALTER TABLE files ADD COLUMN owner TEXT;
ALTER TABLE files ADD COLUMN access TEXT NOT NULL DEFAULT '{"default":"allow"}';

CREATE TABLE secrets (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    purpose    TEXT    NOT NULL,
    value      BLOB    NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;
