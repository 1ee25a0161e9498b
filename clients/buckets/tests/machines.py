"""Gateways and workers as on machines of their own: they share PostgreSQL and a bucket, and no folder."""

import hashlib

from place import eventually

MODEL = "fal-ai/flux/schnell"
SETTINGS = "[worker]\nheartbeat_s = 1\n[webhooks]\nallow_private = true\n"


def card(prompt="a star", **more):
    return {"prompt": prompt, "num_inference_steps": 1, "image_size": {"width": 64, "height": 64}, "seed": 1, **more}


class Machines:
    def __init__(self, place, schema, bucket):
        self.place, self.schema, self.bucket = place, schema, bucket
        self._number = 0

    def gateway(self, settings="", **more):
        return self._start("gateway", settings, True, more)

    def worker(self, pause_ms=0, settings="", **more):
        return self._start("worker", settings, False, more, f"--stand-in={pause_ms}")

    def _start(self, role, settings, listens, environment, *flags):
        self._number += 1
        data = self.place.folder / f"{role}-{self._number}"
        where = ["--database", self.schema.url, "--files", self.bucket.location]
        environment = {**self.bucket.environment, **environment}
        return self.place.start(
            "--role", role, *where, *flags, settings=SETTINGS + settings, environment=environment, listens=listens, data=data
        )

    def on_disk(self):
        """Files that the processes keep in folders."""
        return [path for path in self.place.folder.rglob("*") if path.is_file() and path.suffix in (".png", ".bin", ".db")]


def submit(gateway, body=None, model=MODEL, **headers):
    query = f"?fal_webhook={headers.pop('webhook')}" if "webhook" in headers else ""
    answer = gateway.raw("POST", f"/queue/{model}{query}", json=body or card(), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["request_id"]


def ended(gateway, job, model=MODEL, deadline_s=60):
    """The answer of a job, once it has ended; any gateway knows it."""
    owner = "/".join(model.split("/")[:2])

    def asked():
        answer = gateway.raw("GET", f"/queue/{owner}/requests/{job}")
        return None if answer.status_code == 400 else answer

    return eventually(f"{job} ends", asked, deadline_s)


def picture(answer, gateway):
    """The bytes of the picture in an answer, as this gateway serves them."""
    assert answer.status_code == 200, answer.text
    [image] = answer.json()["images"]
    return fetched(image["url"], gateway)


def path_of(url):
    """The path of a file's URL, for asking another gateway."""
    return "/cdn/files/" + url.split("?")[0].split("/cdn/files/")[1]


def fetched(url, gateway):
    got = gateway.raw("GET", path_of(url))
    assert got.status_code == 200, got.text
    return got.content


def digest(content):
    return hashlib.sha256(content).hexdigest()
