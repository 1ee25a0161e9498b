"""A schema of its own for a test, in the PostgreSQL database that SCUMBLE_TEST_POSTGRES names."""

import os
import uuid

import psycopg
import pytest

VARIABLE = "SCUMBLE_TEST_POSTGRES"
URL = os.environ.get(VARIABLE)


def schema_or_skip():
    """A new schema; a test that has none cannot show anything."""
    if not URL:
        pytest.skip(f"{VARIABLE} names no database; set it to postgres://USER@HOST:PORT/NAME, schemas are made and dropped there")
    return Schema()


class Schema:
    """Empty at first, and dropped with everything in it."""

    def __init__(self):
        self.name = f"test_{uuid.uuid4().hex}"
        self.run(f'CREATE SCHEMA "{self.name}"')

    @property
    def url(self):
        """What a server is told, so that it sees this schema and no other."""
        return f"{URL}{'&' if '?' in URL else '?'}options=-csearch_path%3D{self.name}"

    def run(self, sql):
        """Runs statements; returns the rows of the last one that has some."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def close(self):
        # whoever was killed may still hold a lock for a moment; the server finds out by itself
        self.run(f'DROP SCHEMA "{self.name}" CASCADE')
