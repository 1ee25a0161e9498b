"""A connection that stays open: inputs in, pictures out."""

import json

import msgpack
import pytest
from fal_client import SyncClient
from fal_client.client import RealtimeError
from scumble import CARD, FLUX, constants, eventually
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize("use_jwt", [True, False])
def test_8_39_messagepack_in_and_out_in_order(fal, use_jwt):
    """With a token of `tokens/`, as is the default, and with the key."""
    with fal.realtime(FLUX, use_jwt=use_jwt) as connection:
        for seed in (1, 2, 3):
            connection.send({**CARD, "seed": seed})
        results = [connection.recv() for _ in range(3)]
    assert [result["seed"] for result in results] == [1, 2, 3]
    for result in results:
        [image] = result["images"]
        assert (image["width"], image["height"]) == (64, 64)
        assert isinstance(image.get("content"), bytes) or image["url"]


def test_39_another_encoding(fal):
    with fal.realtime(FLUX, encode_message=lambda message: json.dumps(message)) as connection:
        connection.send({**CARD, "seed": 9})
        assert connection.recv()["seed"] == 9


@pytest.mark.parametrize("use_jwt", [True, False])
def test_39_a_bare_connection(server, key, use_jwt):
    """The endpoint's own path, without /realtime."""
    with SyncClient(key=key).ws_connect(FLUX, use_jwt=use_jwt) as connection:
        connection.send(msgpack.packb({**CARD, "seed": 4}))
        assert msgpack.unpackb(connection.recv())["seed"] == 4


def test_40_what_goes_wrong_is_a_notice(fal):
    with fal.realtime(FLUX) as connection:
        connection.send({"prompt": 3})
        with pytest.raises(RealtimeError) as wrong:
            connection.recv()
    assert wrong.value.payload["type"] == "x-fal-error"
    assert "prompt" in wrong.value.reason


def test_41_an_idle_connection_ends_with_a_notice_and_1000(make_fal, own_place):
    key = own_place.key()
    with constants(own_place.start("--stand-in", settings="[limits]\nrealtime_idle_s = 1\n")):
        with make_fal(key).realtime(FLUX) as connection:
            connection.send(CARD)
            assert connection.recv()["images"]
            with pytest.raises(RealtimeError) as idle:
                connection.recv()
            assert idle.value.error == "TIMEOUT"
            assert connection.recv() is None, "closed with 1000"


def test_43_a_bad_key_is_refused_before_the_upgrade(make_fal, server):
    with pytest.raises(InvalidStatus) as refused:
        with make_fal("wrong:key").realtime(FLUX, use_jwt=False):
            pass
    assert refused.value.response.status_code == 401


def test_44_a_full_buffer_loses_its_oldest_input(make_fal, own_place):
    key = own_place.key()
    server = own_place.start("--stand-in=1000")
    with constants(server), make_fal(key).realtime(FLUX, max_buffering=1) as connection:
        connection.send({**CARD, "seed": 1})
        eventually("it runs", lambda: "job taken" in server.log)
        for seed in (2, 3, 4):
            connection.send({**CARD, "seed": seed})
        assert [connection.recv()["seed"] for _ in range(2)] == [1, 4]


def test_9_a_token_ends(server, key):
    headers = {"authorization": f"Key {key}"}
    body = {"allowed_apps": ["flux"], "token_expiration": 1}
    token = server.raw("POST", "/rest/tokens/", json=body, headers=headers).json()
    path = f"/run/{FLUX}/stream?fal_jwt_token={token}"
    eventually("it has expired", lambda: server.raw("POST", path, json=CARD).status_code == 401)
