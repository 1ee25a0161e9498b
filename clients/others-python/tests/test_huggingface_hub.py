"""huggingface_hub's provider for fal, pointed here by the places where it keeps fal's addresses."""

import huggingface_hub.inference._providers as providers
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers._common import HARDCODED_MODEL_INFERENCE_MAPPING as MAPPING

MODELS = {
    "black-forest-labs/FLUX.1-schnell": ("fal-ai/flux/schnell", "text-to-image"),
    "somebody/starter": ("scumble/starter", "text-to-image"),
    "black-forest-labs/FLUX.1-Redux": ("fal-ai/flux-pro/v1/redux", "image-to-image"),
}


@pytest.fixture(autouse=True)
def pointed_here(server, monkeypatch):
    for model, (endpoint, task) in MODELS.items():
        # what the hub would be asked for
        entry = {"hf_model_id": model, "providerId": endpoint, "task": task, "status": "live", "provider": "fal-ai"}
        monkeypatch.setitem(MAPPING["fal-ai"], model, InferenceProviderMapping(**entry))
    fal = providers.PROVIDERS["fal-ai"]
    monkeypatch.setattr(fal["text-to-image"], "base_url", f"{server.url}/run")
    monkeypatch.setattr(fal["image-to-image"], "base_url", f"{server.url}/queue")


@pytest.fixture
def client(key):
    return InferenceClient(provider="fal-ai", api_key=key)


def test_a_picture_from_a_prompt(client):
    picture = client.text_to_image("a card", model="black-forest-labs/FLUX.1-schnell", width=128, height=96, seed=3)
    assert (picture.size, picture.format) == ((128, 96), "PNG")


def test_the_starter_draws_at_sizes_that_are_usual_elsewhere(client):
    picture = client.text_to_image("a red circle", model="somebody/starter", width=1024, height=1024)
    assert picture.size == (512, 512)


def test_a_picture_from_a_picture(client, picture):
    made = client.image_to_image(picture.read(), prompt="a hat", model="black-forest-labs/FLUX.1-Redux")
    assert (made.size, made.format) == ((1024, 768), "JPEG")


def test_errors_are_its_own(key):
    stranger = InferenceClient(provider="fal-ai", api_key="wrong")
    with pytest.raises(HfHubHTTPError) as refused:
        stranger.text_to_image("a card", model="black-forest-labs/FLUX.1-schnell")
    assert refused.value.response.status_code == 401
