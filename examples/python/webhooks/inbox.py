"""Deliveries that were taken, on disk before they are acknowledged: each request once, however often it is told."""

import json
import sqlite3
import time

SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (id TEXT PRIMARY KEY, told TEXT NOT NULL, done_at REAL);
CREATE TABLE IF NOT EXISTS deliveries (request TEXT NOT NULL, timestamp INTEGER NOT NULL, PRIMARY KEY (request, timestamp));
"""


class Inbox:
    def __init__(self, path):
        self.db = sqlite3.connect(path)
        self.db.executescript(SCHEMA)

    def take(self, request, timestamp, told, keep_s):
        """Whether this is news: "new", "known" (told again, with a new signature) or "replayed" (the same delivery)."""
        with self.db:
            self.db.execute("DELETE FROM deliveries WHERE timestamp < ?", (time.time() - keep_s,))
            delivery = self.db.execute("INSERT OR IGNORE INTO deliveries VALUES (?, ?)", (request, timestamp))
            if delivery.rowcount == 0:
                return "replayed"
            made = self.db.execute("INSERT OR IGNORE INTO requests VALUES (?, ?, NULL)", (request, json.dumps(told)))
            return "new" if made.rowcount else "known"

    def waiting(self):
        """What was taken and is not done, oldest first."""
        rows = self.db.execute("SELECT id, told FROM requests WHERE done_at IS NULL ORDER BY rowid").fetchall()
        return [(id, json.loads(told)) for id, told in rows]

    def done(self, request):
        with self.db:
            self.db.execute("UPDATE requests SET done_at = ? WHERE id = ?", (time.time(), request))

    def close(self):
        self.db.close()
