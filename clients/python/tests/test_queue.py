"""The queue: submit, status, events, result, cancel."""

import os
import subprocess
import sys

import httpx
import pytest
from fal_client import Completed, FalClientHTTPError, InProgress, Queued
from scumble import CARD, FLUX, constants, eventually

FLAGS = ["--stand-in=500"]
LONG = ["--stand-in=60000"]


def until(fal, request_id, kind):
    """The status of a request as soon as it is this."""

    def asked():
        status = fal.status(FLUX, request_id, with_logs=True)
        return isinstance(status, kind) and status

    return eventually(f"{request_id} is {kind.__name__}", asked)


def test_4_17_submit_names_three_urls(fal, server):
    handle = fal.submit(FLUX, CARD)
    base = f"{server.url}/queue/fal-ai/flux/requests/{handle.request_id}"
    assert (handle.response_url, handle.status_url, handle.cancel_url) == (base, f"{base}/status", f"{base}/cancel")
    assert isinstance(handle.status(), (Queued, InProgress, Completed))
    assert len(handle.get()["images"]) == 1
    assert len(fal.result(FLUX, handle.request_id)["images"]) == 1


@pytest.mark.parametrize("with_logs", [False, True])
def test_19_logs_are_a_list_or_none(fal, with_logs):
    updates = []
    fal.subscribe(FLUX, CARD, with_logs=with_logs, on_queue_update=updates.append)
    told = [update.logs for update in updates if not isinstance(update, Queued)]
    assert told and all((logs is not None) == with_logs for logs in told)
    if with_logs:
        assert told[-1] and all({"message", "level", "source", "timestamp"} <= line.keys() for line in told[-1])
    assert updates[-1].metrics["inference_time"] > 0


def test_20_21_events_count_down_and_end(fal, server):
    ahead = fal.submit(FLUX, CARD)
    until(fal, ahead.request_id, InProgress)
    handles = [fal.submit(FLUX, CARD) for _ in range(2)]
    events = list(handles[1].iter_events(with_logs=True))
    positions = [event.position for event in events if isinstance(event, Queued)]
    assert positions[0] == 1 and positions[-1] == 0 and positions == sorted(positions, reverse=True)
    kinds = [kind for i, kind in enumerate(map(type, events)) if i == 0 or kind != type(events[i - 1])]
    assert kinds == [Queued, InProgress, Completed]
    assert events[-1].error is None


def test_21_22_a_failed_request_completes_with_its_error(fal):
    handle = fal.submit(FLUX, {"prompt": 3})
    *_, last = handle.iter_events(with_logs=True)
    assert isinstance(last, Completed) and last.error
    with pytest.raises(FalClientHTTPError) as failed:
        handle.get()
    assert failed.value.status_code == 422 and failed.value.message[0]["loc"] == ["body", "prompt"]


def test_23_unknown_requests_are_404(fal):
    for call in (fal.status, fal.result, fal.cancel):
        with pytest.raises(FalClientHTTPError) as unknown:
            call(FLUX, "00000000-0000-4000-8000-000000000000")
        assert unknown.value.status_code == 404


def test_21_24_25_cancelling_at_each_stage(make_fal, own_place):
    key = own_place.key()
    with constants(own_place.start(*LONG)):
        fal = make_fal(key)
        running = fal.submit(FLUX, CARD)
        until(fal, running.request_id, InProgress)
        waiting = fal.submit(FLUX, CARD)
        headers = {"authorization": f"Key {key}"}
        # the client does not show the code of a success
        cancelled = httpx.put(waiting.cancel_url, headers=headers)
        assert (cancelled.status_code, cancelled.json()) == (200, {"status": "OK"})
        cancelled = httpx.put(running.cancel_url, headers=headers)
        assert (cancelled.status_code, cancelled.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
        for handle in (waiting, running):
            *_, last = handle.iter_events()
            assert isinstance(last, Completed) and last.error_type == "client_cancelled"
            with pytest.raises(FalClientHTTPError) as ended:
                handle.get()
            assert (ended.value.status_code, ended.value.error_type) == (499, "client_cancelled")
            with pytest.raises(FalClientHTTPError) as late:
                handle.cancel()
            assert late.value.status_code == 400
        again = fal.submit(FLUX, CARD)
        again.cancel()


def test_25_a_program_whose_own_deadline_passes_ends(own_place):
    key = own_place.key()
    server = own_place.start(*LONG)
    ours = f"""
import fal_client, fal_client.client as c
c.QUEUE_URL_FORMAT = "{server.url}/queue/"
try:
    fal_client.subscribe("{FLUX}", {CARD}, client_timeout=2, on_queue_update=lambda _: None)
except fal_client.FalClientTimeoutError as error:
    print(error.request_id)
"""
    environment = {"PATH": os.environ["PATH"], "FAL_KEY": key, "HOME": str(own_place.folder)}
    # the client keeps polling in a thread that Python waits for: it ends only when the server says COMPLETED
    program = subprocess.run([sys.executable, "-c", ours], env=environment, capture_output=True, text=True, timeout=60)
    assert program.returncode == 0, program.stderr
    [request_id] = program.stdout.split()
    path = f"/queue/fal-ai/flux/requests/{request_id}/status"
    status = server.raw("GET", path, headers={"authorization": f"Key {key}"})
    assert (status.status_code, status.json()["error_type"]) == (200, "client_cancelled")


def test_27_low_waits_behind_normal(make_fal, own_place):
    key = own_place.key()
    with constants(own_place.start(*LONG)):
        fal = make_fal(key)
        running = fal.submit(FLUX, CARD)
        until(fal, running.request_id, InProgress)
        low = fal.submit(FLUX, CARD, priority="low")
        normal = fal.submit(FLUX, CARD, priority="normal")
        assert (normal.status().position, low.status().position) == (0, 1)


@pytest.mark.parametrize(
    ("headers", "again"),
    [
        ({}, True),
        ({"X-Fal-No-Retry": "1"}, False),
        ({"X-Fal-Retry-Config": '{"connection_error": {"retries": 0}}'}, False),
        ({"X-Fal-Retry-Config": '{"timeout": {"retries": 0}}'}, True),
        ({"X-Fal-Retry-Config": "nonsense"}, True),
    ],
)
def test_29_what_may_be_tried_again_is_the_callers_choice(fal, headers, again):
    """A stand-in fails where its prompt asks for it: here at the first attempt."""
    handle = fal.submit(FLUX, {**CARD, "prompt": "a card [fail 503 x1]"}, headers=headers)
    events = list(handle.iter_events())
    if again:
        assert len(handle.get()["images"]) == 1
    else:
        assert events[-1].error_type == "runner_connection_error"
        with pytest.raises(FalClientHTTPError) as failed:
            handle.get()
        assert failed.value.status_code == 503


def test_32_what_was_accepted_survives_a_restart(make_fal, own_place):
    key = own_place.key()
    settings = "[worker]\nheartbeat_s = 1\n"
    first = own_place.start("--stand-in=60000", settings=settings)
    with constants(first):
        fal = make_fal(key)
        running, waiting = fal.submit(FLUX, {**CARD, "seed": 1}), fal.submit(FLUX, {**CARD, "seed": 2})
        until(fal, running.request_id, InProgress)
        first.kill()
    with constants(own_place.start("--stand-in", settings=settings)):
        fal = make_fal(key)
        for seed, handle in ((1, running), (2, waiting)):
            assert fal.result(FLUX, handle.request_id)["seed"] == seed
