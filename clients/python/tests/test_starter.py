"""A real picture, by the model inside the binary."""

import io

import httpx
from PIL import Image
from scumble import STARTER

FLAGS = []


def pixels(url):
    answer = httpx.get(url)
    assert answer.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(answer.content)).convert("RGB")


def test_1_the_starter_draws_what_was_asked(fal):
    updates = []
    output = fal.subscribe(
        STARTER,
        {"prompt": "a large red circle on a white background", "seed": 3},
        with_logs=True,
        on_queue_update=updates.append,
    )
    assert any("denoise" in line["message"] for line in updates[-1].logs)
    picture = pixels(output["images"][0]["url"])
    assert picture.size == (256, 256)
    # a corner is the background, and somewhere there is a good deal of red
    assert min(picture.getpixel((4, 4))) > 200
    red = sum(1 for r, g, b in picture.get_flattened_data() if r > 150 and g < 100 and b < 100)
    assert red > 256 * 256 / 50


def test_64_sync_mode_gives_data_uris(fal):
    output = fal.run(STARTER, {"prompt": "a blue square", "num_inference_steps": 1, "sync_mode": True})
    assert output["images"][0]["url"].startswith("data:image/png;base64,")
