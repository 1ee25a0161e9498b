"""Direct calls, and what they end with when they fail."""

import io
import threading
import time

import httpx
import pytest
from fal_client import FalClientHTTPError, encode, encode_file
from PIL import Image
from scumble import CARD, FLUX, constants, eventually

FLAGS = ["--stand-in=100"]


def test_1_run(fal):
    """Also 11: the output as the endpoint's page has it."""
    output = fal.run(FLUX, {**CARD, "seed": 7})
    assert output["seed"] == 7 and output["prompt"] == CARD["prompt"]
    [image] = output["images"]
    picture = httpx.get(image["url"])
    assert picture.status_code == 200
    assert Image.open(io.BytesIO(picture.content)).size == (64, 64)


def test_7_a_bad_key_is_refused(make_fal, server):
    with pytest.raises(FalClientHTTPError) as refused:
        make_fal("wrong:key").run(FLUX, CARD)
    assert refused.value.status_code == 401
    assert isinstance(refused.value.message, str) and refused.value.message


def test_13_wrong_input_is_named(fal):
    with pytest.raises(FalClientHTTPError) as refused:
        fal.run(FLUX, {"prompt": 3, "num_images": 99})
    assert refused.value.status_code == 422
    problems = {tuple(p["loc"]): p for p in refused.value.message}
    assert problems[("body", "prompt")]["type"] == "string_type"
    assert problems[("body", "num_images")]["ctx"] == {"le": 4}


def test_14_a_start_timeout_is_not_retried(make_fal, own_place):
    key = own_place.key()
    busy = own_place.start("--stand-in=60000")
    with constants(busy):
        fal = make_fal(key)
        ahead = fal.submit(FLUX, CARD)
        eventually("it runs", lambda: "job taken" in busy.log)
        began = time.monotonic()
        with pytest.raises(FalClientHTTPError) as late:
            fal.run(FLUX, CARD, start_timeout=1.1)
        assert late.value.status_code == 504
        assert late.value.error_type == "request_timeout"
        assert late.value.response_headers["x-fal-request-timeout-type"] == "user"
        # ten attempts of a second each would take longer
        assert time.monotonic() - began < 5
        ahead.cancel()


def test_15_over_the_limit_the_retry_succeeds(make_fal, own_place):
    key = own_place.key()
    server = own_place.start("--stand-in=1500", settings="[limits]\nper_key_concurrency = 1\n")
    headers = {"authorization": f"Key {key}"}
    with constants(server):
        first = threading.Thread(target=lambda: server.raw("POST", f"/run/{FLUX}", json=CARD, headers=headers))
        first.start()
        eventually("it runs", lambda: "job taken" in server.log)
        refused = server.raw("POST", f"/run/{FLUX}", json=CARD, headers=headers)
        assert (refused.status_code, refused.json()["error_type"]) == (429, "concurrent_requests_limit")
        assert len(make_fal(key).run(FLUX, CARD)["images"]) == 1
        first.join()


def test_56_data_uris_and_uploads_are_input(fal, tmp_path):
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    uploaded = fal.upload_file(picture)
    for url in (encode_file(picture), encode("hello", "text/plain"), uploaded):
        assert len(fal.run(FLUX, {**CARD, "reference": {"images": [url]}})["images"]) == 1


def test_60_what_cannot_be_answered_is_named_and_not_retried(make_fal, own_place):
    key = own_place.key()
    # no weights and no stand-ins: this server cannot answer, and says so at once
    bare = own_place.start()
    with constants(bare):
        began = time.monotonic()
        with pytest.raises(FalClientHTTPError) as refused:
            make_fal(key).run(FLUX, CARD)
        assert refused.value.error_type == refused.value.response_headers["x-fal-error-type"] == "bad_request"
        assert refused.value.response_headers["x-fal-request-id"]
        assert time.monotonic() - began < 5
    assert bare.log.count("job finished") <= 1


def test_60_a_503_is_named_in_body_and_header_and_not_retried(fal, server):
    before = server.log.count("job taken")
    with pytest.raises(FalClientHTTPError) as failed:
        fal.run(FLUX, {**CARD, "prompt": "[fail 503]"})
    assert failed.value.status_code == 503
    body, headers = failed.value.response.json(), failed.value.response_headers
    assert body["error_type"] == headers["x-fal-error-type"] == failed.value.error_type == "runner_connection_error"
    assert headers["x-fal-request-id"]
    assert server.log.count("job taken") == before + 1


def test_59_every_answer_has_a_request_id(fal, server):
    for call in (
        lambda: fal.run("fal-ai/no-such-thing", {}),
        lambda: fal.run(FLUX, {}),
        lambda: fal.submit("fal-ai/no-such-thing", {}),
        lambda: fal.status(FLUX, "00000000-0000-4000-8000-000000000000"),
    ):
        with pytest.raises(FalClientHTTPError) as refused:
            call()
        assert refused.value.response_headers["x-fal-request-id"]
