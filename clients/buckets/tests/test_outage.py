"""The bucket is away for a while: callers are told, nothing that was acknowledged is lost, and it goes on by itself."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from forwarder import Forwarder
from hooks import Hooks
from machines import MODEL, card, digest, ended, fetched, path_of, picture, submit
from place import eventually
from uploading import MIB, begun, completed, content, part_of, sent, uploaded

# longer than requests to a bucket are repeated where nobody answers
AWAY_S = 15
# longer than anything waits for a bucket that is silent
HANGS_S = 45


@pytest.fixture
def away(bucket):
    """The way to the bucket, for cutting."""
    return bucket.s3.forwarder


def status_of(gateway, job):
    return gateway.raw("GET", f"/queue/fal-ai/flux/requests/{job}/status").json()["status"]


def for_a_while(seconds, holds):
    """Looks for so long whether something stays as it is."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert holds()
        time.sleep(0.1)


def test_a_moment_without_it_is_not_noticed(machines, away):
    gateway = machines.gateway()
    machines.worker()
    away.hang()
    job = submit(gateway)
    eventually("it is drawn", lambda: status_of(gateway, job) == "IN_PROGRESS")
    # what was on its way is lost with its connection, and is sent again
    away.through()
    kept = ended(gateway, job)
    assert picture(kept, gateway) == machines.bucket.of(kept.json()["images"][0]["url"])
    assert len(machines.bucket.objects()) == 1


def test_the_queue_takes_jobs_without_it(machines, away):
    gateway = machines.gateway()
    away.cut()
    began = time.monotonic()
    jobs = [submit(gateway) for _ in range(20)]
    assert all(status_of(gateway, job) == "IN_QUEUE" for job in jobs)
    assert gateway.raw("GET", "/health").status_code == 200
    assert time.monotonic() - began < 10
    away.through()
    machines.worker()
    for job in jobs:
        picture(ended(gateway, job), gateway)


def test_jobs_wait_for_it(machines, away):
    hooks = Hooks()
    gateway = machines.gateway()
    worker = machines.worker()
    away.cut()
    jobs = [submit(gateway, card(f"star {n}"), webhook=hooks.url) for n in range(3)]
    for_a_while(AWAY_S, lambda: all(status_of(gateway, job) != "COMPLETED" for job in jobs) and not hooks.told)
    away.through()
    for job in jobs:
        kept = ended(gateway, job, deadline_s=120)
        assert picture(kept, gateway) == machines.bucket.of(kept.json()["images"][0]["url"]), worker.log
        [told] = eventually("the webhook", lambda job=job: hooks.of(job))
        assert told["status"] == "OK"
    assert len(machines.bucket.objects()) == len(jobs)
    hooks.close()


def test_readers_are_told_to_come_again(machines, away):
    gateway = machines.gateway()
    file = uploaded(gateway, content(MIB))
    away.cut()
    told = gateway.raw("GET", file)
    assert told.status_code == 503 and int(told.headers["retry-after"]) > 0, told.text
    away.through()
    assert gateway.raw("GET", file).status_code == 200


def test_while_it_is_silent_the_rest_goes_on(machines, away):
    gateway = machines.gateway()
    file = uploaded(gateway, content(MIB))
    away.hang()
    with ThreadPoolExecutor(max_workers=20) as pool:
        waiting = [pool.submit(gateway.raw, "GET", file) for _ in range(20)]
        eventually("they wait", lambda: away.connections() >= 20)
        # nobody is held up who does not need the bucket
        assert gateway.raw("GET", "/health").status_code == 200
        assert status_of(gateway, submit(gateway)) == "IN_QUEUE"
        assert not any(one.done() for one in waiting)
        away.through()
        # they get what they asked for, a little later
        assert [one.result().status_code for one in waiting] == [200] * 20


def slowly(gateway, file, size, seconds):
    """Reads a file as over a line that takes so long for all of it."""
    began, got = time.monotonic(), bytearray()
    with httpx.stream("GET", gateway.url + file, timeout=60) as answer:
        for piece in answer.iter_raw(MIB):
            got += piece
            time.sleep(max(0, began + seconds * len(got) / size - time.monotonic()))
    return bytes(got)


def test_a_silent_bucket_is_given_up_and_a_slow_reader_is_not(machines, away):
    gateway = machines.gateway()
    machines.worker()
    body = content(64 * MIB)
    file = uploaded(gateway, body)
    upload, _ = begun(gateway)
    # a way of its own, which is not cut
    way = Forwarder(machines.bucket.s3.port)
    other = machines.gateway(AWS_ENDPOINT_URL=way.url)
    away.hang()
    calls = [("GET", file, None), ("PUT", upload, content(MIB)), ("POST", f"/run/{MODEL}", json.dumps(card()))]
    with ThreadPoolExecutor() as pool:
        # at the same time, because both take long
        reading = pool.submit(slowly, other, file, len(body), HANGS_S)
        asked = [pool.submit(httpx.request, how, gateway.url + at, content=body, timeout=HANGS_S) for how, at, body in calls]
    away.through()
    way.close()
    # in one go: what is begun anew again and again comes to an end at some time
    assert digest(reading.result()) == digest(body)
    assert "error while reading response body" not in other.log
    assert all(one.result().status_code >= 500 for one in asked)
    assert gateway.raw("GET", file).status_code == 200


def test_a_download_that_is_cut_is_not_passed_off_as_whole(machines, away):
    gateway = machines.gateway()
    body = content(32 * MIB)
    file = uploaded(gateway, body)
    with httpx.stream("GET", gateway.url + file, timeout=60) as answer:
        assert answer.status_code == 200 and answer.headers["content-length"] == str(len(body))
        pieces = answer.iter_raw(64 * 1024)
        begin = next(pieces)
        away.cut()
        with pytest.raises(httpx.TransportError):
            for piece in pieces:
                begin += piece
    assert len(begin) < len(body) and body.startswith(begin)
    away.through()
    # the rest can be had by a range
    rest = gateway.raw("GET", file, headers={"range": f"bytes={len(begin)}-"})
    assert rest.status_code == 206 and digest(begin + rest.content) == digest(body)


def test_uploads_are_refused_and_can_be_repeated(machines, away):
    gateway = machines.gateway()
    body = content(9 * MIB)
    whole, file = begun(gateway)
    parts, joined = begun(gateway, "initiate-multipart")
    first = sent(gateway, part_of(parts, 1), body).json()["etag"]
    away.cut()
    refused = [sent(gateway, whole, body), sent(gateway, part_of(parts, 2), body)]
    refused.append(completed(gateway, parts, [{"partNumber": 1, "etag": first}]))
    assert all(answer.status_code >= 500 for answer in refused)
    assert gateway.raw("GET", file).status_code == 404
    away.through()
    # at the same addresses; what was there before is still there
    assert sent(gateway, whole, body).status_code == 200
    second = sent(gateway, part_of(parts, 2), body).json()["etag"]
    listed = [{"partNumber": number, "etag": etag} for number, etag in ((1, first), (2, second))]
    assert completed(gateway, parts, listed).status_code == 200
    assert digest(machines.bucket.of(file)) == digest(body)
    assert digest(machines.bucket.of(joined)) == digest(fetched(joined, gateway)) == digest(body + body)


def test_those_who_upload_are_told_to_come_again(machines, away):
    gateway = machines.gateway()
    upload, _ = begun(gateway)
    away.cut()
    told = sent(gateway, upload, content(MIB))
    assert told.status_code == 503 and int(told.headers["retry-after"]) > 0, told.text


def test_a_direct_call_is_told_to_come_again(machines, away):
    gateway = machines.gateway()
    machines.worker()
    away.cut()
    told = gateway.raw("POST", f"/run/{MODEL}", json=card())
    assert told.status_code == 503 and told.headers["x-fal-retryable"] == "true", told.text
    away.through()
    again = gateway.raw("POST", f"/run/{MODEL}", json=card())
    assert fetched(path_of(again.json()["images"][0]["url"]), gateway)
