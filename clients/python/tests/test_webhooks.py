"""Webhooks: what a receiver gets, and how it knows from whom."""

import re

import pytest
from fal_client import FalClientHTTPError
from receiver import Receiver, verified
from scumble import CARD, FLUX, constants, eventually

FLAGS = ["--stand-in"]
# receivers listen on this machine, which the owner has to allow
SETTINGS = "[webhooks]\nallow_private = true\n"


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_46_48_one_signed_delivery_with_the_result(fal, server, receiver):
    handle = fal.submit(FLUX, CARD, webhook_url=f"{receiver.url}?order=7")
    eventually("the delivery", lambda: receiver.deliveries)
    expected = {"request_id": handle.request_id, "gateway_request_id": handle.request_id, "status": "OK"}
    assert receiver.json(0) == {**expected, "payload": handle.get()}

    keys = server.raw("GET", "/rest/.well-known/jwks.json").json()["keys"]
    headers, body = receiver.deliveries[0]
    assert verified(headers, body, keys)
    assert not verified(headers, body + b" ", keys)
    late = {**headers, "x-fal-webhook-timestamp": str(int(headers["x-fal-webhook-timestamp"]) + 1)}
    assert not verified(late, body, keys)


def test_47_a_failure_says_so(fal, receiver):
    fal.submit(FLUX, {"prompt": 3}, webhook_url=receiver.url)
    eventually("the delivery", lambda: receiver.deliveries)
    told = receiver.json(0)
    assert (told["status"], told["error"]) == ("ERROR", "Invalid status code: 422")
    assert told["payload"]["detail"][0]["loc"] == ["body", "prompt"]


def test_50_nothing_goes_to_a_private_address(make_fal, own_place, receiver):
    """Such a target is refused at once, or given up at the first attempt."""
    key = own_place.key()
    server = own_place.start("--stand-in")
    with constants(server):
        fal = make_fal(key)
        try:
            handle = fal.submit(FLUX, CARD, webhook_url=receiver.url)
        except FalClientHTTPError as refused:
            assert refused.status_code == 422
        else:
            given_up = re.compile(f"webhook given up.*{handle.request_id}")
            eventually("it is given up", lambda: given_up.search(server.log))
            assert len(handle.get()["images"]) == 1
    assert not receiver.deliveries
