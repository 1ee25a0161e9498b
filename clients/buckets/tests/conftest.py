"""One S3 server for all tests, a bucket and a schema for each."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "shared"))
from bucket import S3  # noqa: E402
from machines import Machines  # noqa: E402
from place import Place  # noqa: E402
from postgres import schema_or_skip  # noqa: E402


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    s3 = S3(tmp_path_factory.mktemp("s3"))
    yield s3
    s3.close()


@pytest.fixture
def bucket(s3):
    s3.forwarder.through()
    yield s3.bucket()
    # what a test has cut is whole again for the next one
    s3.forwarder.through()


@pytest.fixture
def place():
    place = Place()
    yield place
    place.close()


@pytest.fixture
def schema():
    schema = schema_or_skip()
    yield schema
    schema.close()


@pytest.fixture
def machines(schema, place, bucket):
    return Machines(place, schema, bucket)
