"""One of each kind of call with fal's client and nothing but its own settings, in a process that was started for it.

Prints what came back. `calls` leaves out what FAL_RUN_HOST and FAL_QUEUE_RUN_HOST do not cover.
"""

import asyncio
import json
import sys

import fal_client
import httpx

ENDPOINT = "fal-ai/flux/dev"
CARD = {"prompt": "a card", "image_size": {"width": 64, "height": 64}, "num_inference_steps": 1}
everything = sys.argv[1] == "everything"


def realtime(**more):
    with fal_client.realtime(ENDPOINT, **more) as connection:
        connection.send({**CARD, "seed": 8})
        return connection.recv()["seed"]


async def asynchronous():
    output = await fal_client.run_async(ENDPOINT, CARD)
    queued = await fal_client.subscribe_async(ENDPOINT, CARD)
    return [len(output["images"]), len(queued["images"])]


handle = fal_client.submit(ENDPOINT, CARD)
seen = {
    "run": len(fal_client.run(ENDPOINT, CARD)["images"]),
    "subscribe": len(fal_client.subscribe(ENDPOINT, CARD)["images"]),
    "result": len(handle.get()["images"]),
    "later": len(fal_client.result(ENDPOINT, handle.request_id)["images"]),
    "events": [type(event).__name__ for event in handle.iter_events()],
    "asynchronous": asyncio.run(asynchronous()),
    "stream": len(list(fal_client.stream(ENDPOINT, CARD))[-1]["images"]),
    "realtime": realtime(use_jwt=False),
    "urls": [handle.status_url, handle.response_url, handle.cancel_url],
    "picture": fal_client.run(ENDPOINT, CARD)["images"][0]["url"],
}
seen["status"] = httpx.get(seen["picture"]).status_code
if everything:
    seen["token"] = realtime()
    seen["uploaded"] = fal_client.upload(b"hello", "text/plain", "a.txt")
    seen["text"] = httpx.get(seen["uploaded"]).text
print(json.dumps(seen))
