"""Uploads as fal's clients make them."""

import os

import httpx

MIB = 1024 * 1024
PIECE = 256 * 1024


def content(size):
    """Bytes that are the same nowhere else."""
    return os.urandom(size)


def begun(gateway, how="initiate", lifecycle=None, name="film.bin"):
    """Where to send a file, and where it will be: paths, so that another gateway can take it too."""
    headers = {"x-fal-object-lifecycle": lifecycle} if lifecycle else {}
    body = {"content_type": "application/octet-stream", "file_name": name}
    answer = gateway.raw("POST", f"/rest/storage/upload/{how}?storage_type=fal-cdn-v3", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    where = answer.json()
    return where["upload_url"].removeprefix(gateway.url), where["file_url"].removeprefix(gateway.url)


def sent(gateway, path, body):
    """Sends bytes in pieces, as a program does that reads them from a disk; returns the answer."""
    pieces = (body[at : at + PIECE] for at in range(0, len(body), PIECE))
    headers = {"content-length": str(len(body)), "content-type": "application/octet-stream"}
    return httpx.put(gateway.url + path, content=pieces, headers=headers, timeout=120)


def part_of(upload, number):
    """The path for a part of an upload that was begun in parts."""
    path, query = upload.split("?")
    return f"{path}/{number}?{query}"


def completed(gateway, upload, parts):
    path, query = upload.split("?")
    return httpx.post(f"{gateway.url}{path}/complete?{query}", json={"parts": parts}, timeout=120)


def uploaded(gateway, body, **more):
    """A whole file; returns its path."""
    upload, file = begun(gateway, **more)
    answer = sent(gateway, upload, body)
    assert answer.status_code == 200, answer.text
    return file
