"""Direct calls whose pictures come as a stream of events."""

import httpx
import pytest
from fal_client import SyncClient
from httpx_sse import SSEError
from scumble import CARD, FLUX, STARTER


def test_33_the_last_event_is_the_complete_result(fal):
    events = list(fal.stream(FLUX, {**CARD, "seed": 3}))
    assert events[-1]["seed"] == 3 and events[-1]["prompt"] == CARD["prompt"]
    assert httpx.get(events[-1]["images"][0]["url"]).status_code == 200


def test_33_previews_have_the_shape_of_the_result(fal):
    *previews, last = fal.stream(STARTER, {"prompt": "a red circle", "num_inference_steps": 50})
    assert previews, "there is a preview"
    for preview in previews:
        assert preview["images"][0]["url"].startswith("data:image/")
    assert last["images"][0]["url"].startswith("http")


def test_34_text_beyond_ascii_arrives(fal):
    prompt = 'é ü 星 🎨 \u2028 "quoted"'
    *_, last = fal.stream(FLUX, {**CARD, "prompt": prompt})
    assert last["prompt"] == prompt


def test_35_wrong_input_is_a_plain_error(fal, server, key):
    # this client complains of the content type and hides the body
    with pytest.raises(SSEError):
        list(fal.stream(FLUX, {"prompt": 3}))
    headers = {"authorization": f"Key {key}"}
    refused = server.raw("POST", f"/run/{FLUX}/stream", json={"prompt": 3}, headers=headers)
    assert refused.status_code == 422 and refused.json()["detail"][0]["loc"] == ["body", "prompt"]


def test_7_a_bad_key_opens_no_stream(server):
    with pytest.raises(SSEError):
        list(SyncClient(key="wrong:key").stream(FLUX, CARD))
