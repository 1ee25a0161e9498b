"""litellm, unmodified: by OpenAI's API at /v1, and by its provider for fal at /run."""

import asyncio
import base64
import io

import httpx
import litellm
import pytest
from PIL import Image


@pytest.fixture
def openai(server, key):
    return {"api_base": f"{server.url}/v1", "api_key": key, "max_retries": 0}


@pytest.fixture
def fal(server, key):
    return {"api_base": f"{server.url}/run", "api_key": key}


def inside(answer):
    return Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json)))


def behind(answer):
    return Image.open(io.BytesIO(httpx.get(answer.data[0].url).content))


def test_pictures_from_a_prompt(openai):
    answer = litellm.image_generation(model="openai/gpt-image-1", prompt="a red circle", size="1024x1024", **openai)
    assert inside(answer).format == "PNG"
    answer = litellm.image_generation(model="openai/dall-e-3", prompt="a red circle", **openai)
    assert behind(answer).format == "PNG"
    answer = litellm.image_generation(model="openai/fal-ai/flux/schnell", prompt="a red circle", size="640x480", **openai)
    assert behind(answer).size == (640, 480)


def test_pictures_from_a_prompt_asynchronously(openai):
    call = litellm.aimage_generation(model="openai/gpt-image-1", prompt="a red circle", n=2, **openai)
    assert len(asyncio.run(call).data) == 2


def test_pictures_from_pictures(openai, picture, mask):
    answer = litellm.image_edit(model="openai/gpt-image-1", image=picture, prompt="a hat", **openai)
    assert inside(answer).format == "PNG"
    picture.seek(0)
    answer = litellm.image_edit(model="openai/gpt-image-1", image=[picture], mask=mask, prompt="a hat", **openai)
    assert inside(answer).size == (64, 64)


def test_by_fals_api(fal):
    answer = litellm.image_generation(model="fal_ai/fal-ai/flux/schnell", prompt="a card", size="1024x768", **fal)
    assert behind(answer).size == (1024, 768)
    answer = litellm.image_generation(model="fal_ai/fal-ai/flux-pro/v1.1", prompt="a card", n=2, **fal)
    assert len(answer.data) == 2


def test_errors_are_its_own(openai, server):
    with pytest.raises(litellm.NotFoundError):
        litellm.image_generation(model="openai/no-such-model", prompt="x", **openai)
    stranger = {**openai, "api_key": "wrong"}
    with pytest.raises(litellm.AuthenticationError):
        litellm.image_generation(model="openai/gpt-image-1", prompt="x", **stranger)
