"""One server for each file, and pictures to send to it."""

import io
import os

import pytest
from PIL import Image
from place import Place

# litellm asks the internet for prices otherwise, and huggingface_hub for news of itself
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="module")
def place():
    """A folder with a server, gone after the file."""
    place = Place()
    yield place
    place.close()


@pytest.fixture(scope="module")
def key(place):
    """A key, made before the server starts."""
    return place.key()


@pytest.fixture(scope="module")
def server(place, key):
    """The server, whose cards stand in for models."""
    return place.start("--stand-in=0")


@pytest.fixture
def picture():
    """A PNG as a file."""
    return encoded(Image.new("RGB", (64, 64), (10, 60, 90)), "p.png")


@pytest.fixture
def mask():
    """A PNG that is transparent on its left."""
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
    return encoded(mask, "m.png")


def encoded(image, name):
    file = io.BytesIO()
    image.save(file, "PNG")
    file.seek(0)
    file.name = name
    return file
