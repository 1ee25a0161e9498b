"""Installations of both kinds: SQLite in the data dir, or PostgreSQL; files are in a folder."""

from place import BINARY, eventually
from postgres import schema_or_skip

MODEL = "fal-ai/flux/schnell"
SETTINGS = "[worker]\nheartbeat_s = 1\n[webhooks]\nallow_private = true\n"


class Installation:
    """A place with servers, on a database of one kind."""

    def __init__(self, place, kind):
        self.place, self.kind = place, kind
        self.schema = schema_or_skip() if kind == "postgres" else None

    @property
    def where(self):
        """The flags that name the database."""
        database = ["--database", self.schema.url] if self.schema else []
        return ["--data-dir", str(self.place.data), *database]

    def start(self, role="all", binary=BINARY, pause_ms=0):
        flags = ["--role", role, "--files", str(self.place.data / "files"), *self.where[2:]]
        if role != "gateway":
            flags.append(f"--stand-in={pause_ms}")
        return self.place.start(*flags, settings=SETTINGS, listens=role != "worker", binary=binary)

    def key(self, label, binary=BINARY):
        return self.place.command("keys", "create", *self.where, "--label", label, binary=binary).strip()

    def close(self):
        self.place.close()
        if self.schema:
            self.schema.close()


def card(prompt="a star", **more):
    return {"prompt": prompt, "num_inference_steps": 1, "image_size": {"width": 64, "height": 64}, "seed": 1, **more}


def authorized(key, **headers):
    return {"authorization": f"Key {key}", **headers} if key else headers


def answer_of(server, job, key=None):
    """The answer of a job as far as there is one: the status says."""
    return server.raw("GET", f"/queue/fal-ai/flux/requests/{job}", headers=authorized(key))


def ended(server, job, key=None, deadline_s=60):
    def asked():
        answer = answer_of(server, job, key)
        return None if answer.status_code == 400 else answer

    return eventually(f"{job} ends", asked, deadline_s)


def status_of(server, job, key=None):
    return server.raw("GET", f"/queue/fal-ai/flux/requests/{job}/status", headers=authorized(key)).json()["status"]


def path_of(url):
    """The path of a file's URL: the host is another one after each start."""
    return "/cdn/files/" + url.split("?")[0].split("/cdn/files/")[1]


def without_hosts(body):
    """A body as it is wherever its server listens."""
    if isinstance(body, dict):
        return {name: without_hosts(value) for name, value in body.items()}
    if isinstance(body, list):
        return [without_hosts(value) for value in body]
    return path_of(body) if isinstance(body, str) and "/cdn/files/" in body else body


def is_picture(answer):
    return answer.status_code == 200 and answer.content.startswith((b"\xff\xd8", b"\x89PNG"))
