"""Points fal's client, unmodified, at a server of your own: SCUMBLE_URL says where it is, FAL_KEY is a key of it."""

import os

import fal_client.client


def use_server(url=None):
    """Call this before the first request. Gives the address of the server."""
    url = (url or os.environ.get("SCUMBLE_URL") or "http://127.0.0.1:8787").rstrip("/")
    fal_client.client.RUN_URL_FORMAT = f"{url}/run/"
    fal_client.client.QUEUE_URL_FORMAT = f"{url}/queue/"
    fal_client.client.REALTIME_URL_FORMAT = f"ws{url.removeprefix('http')}/run/"
    fal_client.client.REST_URL = f"{url}/rest"
    fal_client.client.CDN_URL = f"{url}/cdn"
    # the client wants a key, whether the server does or not
    os.environ.setdefault("FAL_KEY", "none")
    return url
