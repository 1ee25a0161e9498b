"""Big files: up in one go or in parts, by any gateway; down whole or in ranges."""

import socket

import httpx
import pytest
from machines import digest, fetched
from place import eventually
from uploading import MIB, begun, completed, content, part_of, sent, uploaded

LIMIT = 48 * MIB
LIMITED = f"[limits]\nupload_bytes = {LIMIT}\n"


def test_a_file_up_to_the_limit_and_no_larger(machines):
    gateway, other = machines.gateway(LIMITED), machines.gateway(LIMITED)
    body = content(LIMIT)
    file = uploaded(gateway, body)
    assert digest(machines.bucket.of(file)) == digest(body)
    assert digest(fetched(file, other)) == digest(body)
    assert other.raw("HEAD", file).headers["content-length"] == str(LIMIT)
    # one byte more is refused: at once where it says so, and on its way where it does not
    upload, _ = begun(gateway)
    assert sent(gateway, upload, body + b"x").status_code == 413
    unannounced = (piece for piece in (body, b"x"))
    assert httpx.put(gateway.url + upload, content=unannounced, timeout=120).status_code == 413
    eventually("nothing of it stays at the bucket", lambda: not machines.bucket.unfinished())
    assert len(machines.bucket.objects()) == 1


def test_parts_in_any_order_through_two_gateways(machines):
    first, second = machines.gateway(LIMITED), machines.gateway(LIMITED)
    bodies = {1: content(17 * MIB), 2: content(9 * MIB), 3: content(3)}
    upload, file = begun(first, "initiate-multipart")
    etags = {}
    for number, gateway in ((3, second), (1, first), (2, second)):
        answer = sent(gateway, part_of(upload, number), bodies[number])
        assert answer.status_code == 200, answer.text
        etags[number] = answer.json()["etag"]
    # a part that is sent again is there twice, and the list says which one is meant
    again = sent(first, part_of(upload, 3), b"no!").json()["etag"]
    assert again != etags[3] and first.raw("GET", file).status_code == 404
    parts = [{"partNumber": number, "etag": etag} for number, etag in etags.items()]
    for gateway in (second, first):  # the second time nothing is left to do
        answer = completed(gateway, upload, parts)
        assert answer.status_code == 200, answer.text
    whole = b"".join(bodies[number] for number in (1, 2, 3))
    assert digest(machines.bucket.of(file)) == digest(whole)
    assert digest(fetched(file, first)) == digest(fetched(file, second)) == digest(whole)
    # the parts are gone, and the bucket has nothing under way
    assert list(machines.bucket.objects()) == [file.removeprefix("/cdn/files/")]
    assert machines.bucket.unfinished() == []


def test_parts_that_are_too_much_together_are_refused(machines):
    gateway = machines.gateway(LIMITED)
    upload, file = begun(gateway, "initiate-multipart")
    parts = []
    for number in (1, 2):
        answer = sent(gateway, part_of(upload, number), content(LIMIT // 2 + 1))
        assert answer.status_code == 200, answer.text
        parts.append({"partNumber": number, "etag": answer.json()["etag"]})
    assert completed(gateway, upload, parts).status_code == 413
    assert gateway.raw("GET", file).status_code == 404


def test_an_upload_that_breaks_off_leaves_nothing(machines):
    gateway = machines.gateway(LIMITED)
    upload, file = begun(gateway)
    with socket.create_connection(gateway.address.split(":")) as connection:
        head = f"PUT {upload} HTTP/1.1\r\nhost: {gateway.address}\r\ncontent-length: {LIMIT}\r\n\r\n"
        connection.sendall(head.encode() + content(20 * MIB))
        eventually("pieces of it are at the bucket", machines.bucket.unfinished)
    eventually("they are taken back", lambda: not machines.bucket.unfinished())
    assert machines.bucket.objects() == {} and gateway.raw("GET", file).status_code == 404
    # and may be sent again, to the same address
    body = content(10 * MIB)
    assert sent(gateway, upload, body).status_code == 200
    assert digest(machines.bucket.of(file)) == digest(body)


def test_the_first_of_two_stays(machines):
    first, second = machines.gateway(), machines.gateway()
    upload, file = begun(first)
    body = content(9 * MIB)
    assert sent(first, upload, body).status_code == 200
    assert sent(second, upload, content(9 * MIB)).status_code == 200
    assert digest(machines.bucket.of(file)) == digest(fetched(file, first)) == digest(body)


def test_ranges(machines):
    gateways = [machines.gateway(), machines.gateway()]
    size = 20 * MIB
    body = content(size)
    file = uploaded(gateways[0], body)
    tag = gateways[0].raw("HEAD", file).headers["etag"]
    found = [
        ("bytes=0-0", 0, 1),
        (f"bytes={9 * MIB}-{17 * MIB - 1}", 9 * MIB, 17 * MIB),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-1000", size - 1000, size),
        (f"bytes=5-{size * 9}", 5, size),
        (f"bytes=-{size * 9}", 0, size),
    ]
    for gateway in gateways:
        for text, start, end in found:
            for condition in ({}, {"if-range": tag}):
                got = gateway.raw("GET", file, headers={"range": text, **condition})
                assert got.status_code == 206, (text, got.text[:200])
                assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
                assert got.headers["content-length"] == str(end - start)
                assert digest(got.content) == digest(body[start:end]), text
        # somebody who has another file gets all of this one
        other = gateway.raw("GET", file, headers={"range": "bytes=0-9", "if-range": '"another"'})
        assert other.status_code == 200 and digest(other.content) == digest(body)
        for beyond in (f"bytes={size}-", "bytes=-0", f"bytes={size * 2}-{size * 3}"):
            refused = gateway.raw("GET", file, headers={"range": beyond})
            assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{size}"), beyond
        assert gateway.raw("GET", file, headers={"if-none-match": tag}).status_code == 304


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1])
def test_sizes_at_the_edges_of_pieces(machines, size):
    gateway = machines.gateway()
    body = content(size)
    file = uploaded(gateway, body)
    assert digest(machines.bucket.of(file)) == digest(fetched(file, gateway)) == digest(body)
    assert machines.bucket.unfinished() == []
