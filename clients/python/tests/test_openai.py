"""OpenAI's own client against the same jobs."""

import asyncio
import base64
import io

import httpx
import openai
import pytest
from PIL import Image
from scumble import FLUX

FLAGS = ["--stand-in=0"]


@pytest.fixture
def client(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def opened(data):
    return Image.open(io.BytesIO(data))


def test_pictures_come_as_urls(client):
    answer = client.images.generate(model=FLUX, prompt="a card", size="128x96", n=2)
    assert len(answer.data) == 2
    for image in answer.data:
        assert opened(httpx.get(image.url).content).size == (128, 96)


def test_pictures_come_in_the_answer(client):
    answer = client.images.generate(
        model=FLUX, prompt="a card", size="128x96", response_format="b64_json", output_format="png", quality="high"
    )
    picture = opened(base64.b64decode(answer.data[0].b64_json))
    assert (picture.size, picture.format) == ((128, 96), "PNG")


def test_the_starter_draws(client):
    answer = client.images.generate(model="scumble/starter", prompt="a large red circle on a white background")
    picture = opened(httpx.get(answer.data[0].url).content).convert("RGB")
    red = sum(1 for r, g, b in picture.get_flattened_data() if r > 150 and g < 100 and b < 100)
    assert red > 256 * 256 / 50


def test_models_are_listed(client):
    ids = [model.id for model in client.models.list()]
    assert FLUX in ids
    assert client.models.retrieve(FLUX).id == FLUX


def test_errors_are_the_clients_own(client, server):
    with pytest.raises(openai.BadRequestError) as wrong:
        client.images.generate(model=FLUX, prompt="a card", n=9)
    assert wrong.value.param == "n"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(model="gpt-image-1", prompt="a card")
    assert unknown.value.code == "model_not_found"
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.images.generate(model=FLUX, prompt="a card")


async def asynchronous(url, key):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
        return await client.images.generate(model=FLUX, prompt="a card", size="64x64")


def test_the_asynchronous_client_too(server, key):
    assert asyncio.run(asynchronous(server.url, key)).data[0].url.startswith(server.url)
