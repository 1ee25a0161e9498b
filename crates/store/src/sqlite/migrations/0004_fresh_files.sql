-- Version 4: small files reach the disk with the outcome that names them.

-- The bytes of files that are not in their folder yet; gone once they are, or with the file's row.
CREATE TABLE fresh_files (
    path  TEXT PRIMARY KEY REFERENCES files (path) ON DELETE CASCADE,
    bytes BLOB NOT NULL
) STRICT;
