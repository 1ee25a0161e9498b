"""OpenAI's own client against the same jobs."""

import asyncio
import base64
import io

import httpx
import openai
import pytest
from PIL import Image
from scumble import FLUX, STARTER

FLAGS = ["--stand-in=0"]
SETTINGS = '[openai]\naliases = { "house-model" = "scumble/starter" }\n'
REDUX = "fal-ai/flux-pro/v1/redux"


@pytest.fixture
def client(server, key):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def opened(data):
    return Image.open(io.BytesIO(data))


def inside(answer, at=0):
    return opened(base64.b64decode(answer.data[at].b64_json))


def behind(answer):
    return opened(httpx.get(answer.data[0].url).content)


def file(image, name="p.png"):
    """A picture as a file that was opened for reading."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    stream.seek(0)
    stream.name = name
    return stream


def photo():
    return file(Image.new("RGB", (64, 48), (10, 60, 90)))


def clear_left(width=64, height=48):
    mask = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    return file(mask, "m.png")


def test_pictures_come_as_urls(client):
    answer = client.images.generate(model=FLUX, prompt="a card", size="128x96", n=2)
    assert len(answer.data) == 2
    for image in answer.data:
        assert opened(httpx.get(image.url).content).size == (128, 96)


def test_pictures_come_in_the_answer(client):
    answer = client.images.generate(
        model=FLUX, prompt="a card", size="128x96", response_format="b64_json", output_format="png", quality="high"
    )
    picture = inside(answer)
    assert (picture.size, picture.format) == ((128, 96), "PNG")


def test_the_starter_draws(client):
    answer = client.images.generate(model=STARTER, prompt="a large red circle on a white background")
    picture = behind(answer).convert("RGB")
    red = sum(1 for r, g, b in picture.get_flattened_data() if r > 150 and g < 100 and b < 100)
    assert red > 256 * 256 / 50


@pytest.mark.parametrize("size", ["1024x1024", "1536x1024", "1024x1536"])
def test_sizes_are_fitted_to_the_starter(client, size):
    width, height = behind(client.images.generate(model=STARTER, prompt="a red circle", size=size)).size
    asked = [int(side) for side in size.split("x")]
    assert max(width, height) == 512
    assert abs(width / height - asked[0] / asked[1]) < 0.07


def test_names_that_programs_fix(client):
    answer = client.images.generate(model="gpt-image-1", prompt="a red circle", size="auto", background="auto")
    assert inside(answer).format == "PNG"
    assert answer._request_id
    assert behind(client.images.generate(model="dall-e-3", prompt="a red circle", style="vivid")).format == "PNG"
    assert inside(client.images.generate(model="dall-e-2", prompt="a red circle", response_format="b64_json"))
    assert behind(client.images.generate(prompt="a red circle"))
    for output_format in ["png", "jpeg", "webp"]:
        answer = client.images.generate(model="gpt-image-1", prompt="a red circle", output_format=output_format)
        assert inside(answer).format == output_format.upper()


def test_the_owners_names(client):
    assert behind(client.images.generate(model="house-model", prompt="a red circle")).size == (256, 256)
    assert client.models.retrieve("house-model").id == "house-model"
    assert "house-model" in [model.id for model in client.models.list()]


def test_edits(client):
    assert behind(client.images.edit(model=REDUX, image=photo(), prompt="a hat", size="auto")).size == (64, 48)
    assert behind(client.images.edit(model="fal-ai/omnigen-v2", image=[photo(), photo()], prompt="a hat"))
    assert inside(client.images.edit(model="gpt-image-1", image=photo(), prompt="a hat")).format == "PNG"
    words = {"model": "fal-ai/flux-pro/v1/fill", "prompt": "a hat"}
    assert behind(client.images.edit(image=photo(), mask=clear_left(), **words)).size == (64, 48)
    with pytest.raises(openai.BadRequestError) as wrong:
        client.images.edit(image=photo(), mask=clear_left(32, 32), **words)
    assert wrong.value.param == "mask"


def test_variations(client):
    assert behind(client.images.create_variation(image=photo(), n=1, size="512x512")).size == (512, 512)
    answer = client.images.create_variation(image=photo(), model="dall-e-2", n=2, response_format="b64_json")
    assert inside(answer, 1).format == "PNG"


def test_streams(client):
    words = {"model": STARTER, "prompt": "a red circle", "size": "512x512", "stream": True}
    events = list(client.images.generate(partial_images=2, **words))
    *partial, last = events
    assert (last.type, opened(base64.b64decode(last.b64_json)).size) == ("image_generation.completed", (512, 512))
    assert len(partial) <= 2
    for index, event in enumerate(partial):
        assert (event.type, event.partial_image_index) == ("image_generation.partial_image", index)
        assert opened(base64.b64decode(event.b64_json)).format == "JPEG"
    assert [event.type for event in client.images.generate(**words)] == ["image_generation.completed"]
    edit = client.images.edit(model="gpt-image-1", image=photo(), prompt="a hat", stream=True)
    assert [event.type for event in edit] == ["image_edit.completed"]
    with pytest.raises(openai.BadRequestError):
        client.images.generate(model=STARTER, prompt="x", size="huge", stream=True)


def test_ten_pictures_are_ten(client):
    for model in ["fal-ai/aura-flow", "fal-ai/flux-pro/v1.1", STARTER]:
        answer = client.images.generate(model=model, prompt="a red circle", n=10, response_format="b64_json")
        assert len({picture.b64_json for picture in answer.data}) == 10


def test_models_are_listed(client):
    ids = [model.id for model in client.models.list()]
    assert FLUX in ids
    assert client.models.retrieve(FLUX).id == FLUX


def test_errors_are_the_clients_own(client, server):
    with pytest.raises(openai.BadRequestError) as wrong:
        client.images.generate(model=FLUX, prompt="a card", n=11)
    assert (wrong.value.param, bool(wrong.value.request_id)) == ("n", True)
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(model="no-such-model", prompt="a card")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=STARTER, messages=[{"role": "user", "content": "x"}])
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.images.generate(model=FLUX, prompt="a card")
    with pytest.raises(openai.AuthenticationError):
        stranger.images.edit(model=REDUX, image=photo(), prompt="a card")


async def asynchronous(url, key):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
        edited = await client.images.edit(model=REDUX, image=photo(), prompt="a hat")
        return await client.images.generate(model=FLUX, prompt="a card", size="64x64"), edited


def test_the_asynchronous_client_too(server, key):
    for answer in asyncio.run(asynchronous(server.url, key)):
        assert answer.data[0].url.startswith(server.url)
