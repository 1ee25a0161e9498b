"""The real binary, and fal's client pointed at it."""

from contextlib import contextmanager

import fal_client.client
from place import ROOT, Place, eventually  # noqa: F401: the tests take them from here

SHARED = ROOT / "clients/shared"
FLUX = "fal-ai/flux/dev"
STARTER = "scumble/starter"
CARD = {"prompt": "a card", "image_size": {"width": 64, "height": 64}, "num_inference_steps": 4}


@contextmanager
def constants(server):
    """Points the client here by its module's constants: mode B, over plain HTTP, everything."""
    client = fal_client.client
    ours = {
        "RUN_URL_FORMAT": f"{server.url}/run/",
        "QUEUE_URL_FORMAT": f"{server.url}/queue/",
        "REALTIME_URL_FORMAT": f"ws://{server.address}/run/",
        "REST_URL": f"{server.url}/rest",
        "CDN_URL": f"{server.url}/cdn",
    }
    before = {name: getattr(client, name) for name in ours}
    for name, value in ours.items():
        setattr(client, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(client, name, value)
