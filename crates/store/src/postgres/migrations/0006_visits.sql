-- Who is signed in on pages.

-- `word_hash` is the digest of the word that the browser keeps; a word that is not here opens nothing.
CREATE TABLE visits (
    seq       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    word_hash bytea  NOT NULL UNIQUE,
    key_id    text   COLLATE "C" NOT NULL,
    until_ms  bigint NOT NULL
);

CREATE INDEX visits_of_key ON visits (key_id, seq);
CREATE INDEX visits_end ON visits (until_ms);
