"""A bucket that cannot be used is named when a server starts, with what to do; nothing is half up."""

import re

import pytest
from bucket import S3
from machines import Machines


@pytest.fixture
def closed(tmp_path):
    """A server that looks at signatures."""
    s3 = S3(tmp_path)
    yield s3
    s3.close()


def said(machines, command="serve", location=None, **environment):
    """What a gateway says that does not start, or `doctor`."""
    words = [command, "--role", "gateway", "--data-dir", str(machines.place.data), "--database", machines.schema.url]
    words += ["--files", location or machines.bucket.location, *(["--listen", "127.0.0.1:0"] if command == "serve" else [])]
    ended = machines.place.ended(*words, environment={**machines.bucket.environment, **environment})
    assert ended.returncode not in (0, 101), ended.stdout
    assert "panicked" not in ended.stderr
    assert "servers-secret" not in ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_a_key_that_is_not_known(schema, place, closed, command):
    machines = Machines(place, schema, closed.bucket())
    right = closed.close_to_strangers()
    words = said(machines, command)
    assert machines.bucket.location in words and "AWS_ACCESS_KEY_ID" in words, words
    assert re.search(r"InvalidAccessKeyId|access key", words), words
    # the right name with another secret
    words = said(machines, command, **{**right, "AWS_SECRET_ACCESS_KEY": "servers-secret"})
    assert machines.bucket.location in words and "SignatureDoesNotMatch" in words, words
    # half of a key is no key
    words = said(machines, command, **{**right, "AWS_SECRET_ACCESS_KEY": ""})
    assert "AWS_SECRET_ACCESS_KEY" in words, words


def test_the_right_key_works_with_signatures_that_are_looked_at(schema, place, closed):
    machines = Machines(place, schema, closed.bucket())
    right = closed.close_to_strangers()
    gateway = machines.gateway(**right)
    assert gateway.raw("GET", "/ready").status_code == 200


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_a_bucket_that_is_not_there(machines, command):
    words = said(machines, command, location="s3://nobodys-bucket/here")
    assert "s3://nobodys-bucket/here" in words and "NoSuchBucket: " in words and "make it, or" in words, words
    assert "<Code>" not in words and "Object at location" not in words, words


@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_a_bucket_where_nobody_answers(machines, command):
    machines.bucket.s3.forwarder.cut()
    words = said(machines, command)
    line = next(line for line in words.splitlines() if machines.bucket.location in line)
    assert "Connection refused" in line and "check AWS_ENDPOINT_URL" in line and "--files" not in line, words
