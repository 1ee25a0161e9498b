"""What record.py has left, put where a server finds it."""

import gzip
import io
import json
import sqlite3
import tarfile
import time
from pathlib import Path

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
SCHEMA = "the_recorded_schema"
# a number that is larger is a point in time, and no span
A_TIME_MS = 1_000_000_000_000


class Recording:
    def __init__(self, installation, hooks):
        self.installation = installation
        about = json.loads((RECORDED / f"{installation.kind}.json").read_text())
        self.made_ms, self.receiver = about["made_ms"], about["receiver"]
        self.key, self.revoked, self.jwks = about["key"], about["revoked"], about["jwks"]
        self.jobs, self.files, self.word = about["jobs"], about["files"], about["word"]
        with tarfile.open(fileobj=io.BytesIO((RECORDED / f"{installation.kind}.tar.gz").read_bytes())) as archive:
            # with who may read what, as the server has left it
            archive.extractall(installation.place.data, filter="tar")
        if installation.schema:
            dump = gzip.decompress((RECORDED / "postgres.sql.gz").read_bytes()).decode()
            dump = dump.replace(f"CREATE SCHEMA {SCHEMA};", "").replace(SCHEMA, installation.schema.name)
            installation.schema.run(dump)
        self._move(hooks.url)

    def _move(self, receiver):
        """To the present, as if the power had just come back, and to a receiver that is there."""
        later_ms = int(time.time() * 1000) - self.made_ms
        for table, column in self._times():
            self.run(f"UPDATE {table} SET {column} = {column} + {later_ms} WHERE {column} > {A_TIME_MS}")
        for table, column in (("jobs", "webhook"), ("deliveries", "url")):
            self.run(f"UPDATE {table} SET {column} = '{receiver}' WHERE {column} = '{self.receiver}'")

    def _times(self):
        if self.installation.schema:
            sql = (
                "SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t "
                "USING (table_schema, table_name) WHERE t.table_type = 'BASE TABLE' AND c.data_type = 'bigint' "
                f"AND c.table_schema = '{self.installation.schema.name}' AND c.column_name LIKE '%\\_ms'"
            )
        else:
            sql = (
                "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c "
                "WHERE t.type = 'table' AND c.name LIKE '%\\_ms' ESCAPE '\\'"
            )
        found = self.run(sql)
        assert ("jobs", "created_ms") in found and len(found) > 15
        return found

    def run(self, sql):
        if self.installation.schema:
            return self.installation.schema.run(sql)
        database = sqlite3.connect(self.installation.place.data / "scumble.db")
        with database:
            rows = database.execute(sql).fetchall()
        database.close()
        return rows

    def of(self, *states):
        return [job for job in self.jobs if job["state"] in states]
