"""Files that callers bring: small ones, large ones, who may read them and how long."""

import hashlib
import io
from datetime import datetime

import httpx
import pytest
from fal_client.client import StorageACL, StorageSettings
from PIL import Image
from scumble import eventually

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_second_choice(caplog):
    """The client tries a second repository when the first fails, which would hide that it failed."""
    yield
    assert not [record for record in caplog.records if "falling back" in record.message]


def test_53_a_token_for_uploads(server, key):
    path = "/rest/storage/auth/token?storage_type=fal-cdn-v3"
    assert server.raw("POST", path, json={}).status_code == 401
    token = server.raw("POST", path, json={}, headers={"authorization": f"Key {key}"}).json()
    assert token["token_type"] == "Bearer" and token["token"]
    assert token["base_url"] == f"{server.url}/cdn"
    assert token["expires_at"].endswith("+00:00"), "older Pythons read no Z"
    assert datetime.fromisoformat(token["expires_at"]) > datetime.now().astimezone()


def test_53_upload(fal, server):
    for data, name in ((b"bytes", None), ("text, é", "a b.txt")):
        url = fal.upload(data, "text/plain", name)
        assert url.startswith(f"{server.url}/cdn/files/"), url
        answer = httpx.get(url)
        assert answer.content == (data if isinstance(data, bytes) else data.encode())
        assert answer.headers["content-type"].startswith("text/plain")
        assert name is None or url.endswith(("/a%20b.txt", "/a_b.txt"))


def test_53_upload_file_and_image(fal, tmp_path):
    picture = Image.new("RGB", (20, 10), "red")
    picture.save(tmp_path / "a.png")
    for url, kind in ((fal.upload_file(tmp_path / "a.png"), "png"), (fal.upload_image(picture), "jpeg")):
        answer = httpx.get(url)
        assert answer.headers["content-type"] == f"image/{kind}"
        assert Image.open(io.BytesIO(answer.content)).size == (20, 10)


def test_53_a_bad_token_uploads_nothing(server):
    for headers in ({}, {"authorization": "Bearer made-up"}):
        headers = {"content-type": "text/plain", **headers}
        assert server.raw("POST", "/cdn/files/upload", content=b"x", headers=headers).status_code == 401


def test_54_upload_file_of_105_mib(fal, tmp_path):
    large = tmp_path / "large.bin"
    digest = hashlib.sha256()
    with open(large, "wb") as file:
        for number in range(105):
            block = number.to_bytes(4, "little") * (MIB // 4)
            file.write(block)
            digest.update(block)
    url = fal.upload_file(large)
    read = hashlib.sha256()
    with httpx.stream("GET", url) as answer:
        assert answer.status_code == 200 and answer.headers["content-length"] == str(105 * MIB)
        for block in answer.iter_bytes():
            read.update(block)
    assert read.hexdigest() == digest.hexdigest()


def test_55_initiate_and_put(fal, tmp_path):
    url = fal.upload(b"bytes", "text/plain", "a.txt", repository="fal", fallback_repository=[])
    assert httpx.get(url).content == b"bytes"


def test_57_an_upload_is_gone_after_its_time(fal):
    url = fal.upload(b"bytes", "text/plain", lifecycle=StorageSettings(expires_in=2))
    assert httpx.get(url).status_code == 200
    eventually("it is gone", lambda: httpx.get(url).status_code == 404)


@pytest.mark.parametrize(("decision", "status"), [("allow", 200), ("forbid", 403), ("hide", 404)])
@pytest.mark.parametrize("repository", ["fal_v3", "fal"])
def test_57_who_may_read(fal, key, repository, decision, status):
    lifecycle = StorageSettings(initial_acl=StorageACL(default=decision))
    url = fal.upload(b"bytes", "text/plain", repository=repository, fallback_repository=[], lifecycle=lifecycle)
    assert httpx.get(url).status_code == status
    assert httpx.get(url, headers={"authorization": f"Key {key}"}).status_code == 200
