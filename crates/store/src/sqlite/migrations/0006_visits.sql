-- Who is signed in on pages.

-- `word_hash` is the digest of the word that the browser keeps; a word that is not here opens nothing.
CREATE TABLE visits (
    seq       INTEGER PRIMARY KEY,
    word_hash BLOB    NOT NULL UNIQUE,
    key_id    TEXT    NOT NULL,
    until_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX visits_of_key ON visits (key_id, seq);
CREATE INDEX visits_end ON visits (until_ms);
