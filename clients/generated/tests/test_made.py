"""openapi-python-client makes a client of every endpoint's document and of the whole server's, without a warning; made
clients submit, wait with logs, and fetch. All documents are valid."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openapi_python_client
import pytest
from openapi_python_client.config import Config, ConfigFile, MetaType
from openapi_spec_validator import validate

ROOT = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("SCUMBLE_BIN") or str(ROOT / "target/release/scumble")
PATIENCE_S = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where clients are made; Python finds them there."""
    folder = tmp_path_factory.mktemp("made")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server with cards for every model but the starter."""
    home = tmp_path_factory.mktemp("home")
    words = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(home / "data"), "--stand-in=50"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1"}
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        first = server.stdout.readline()
        found = re.match(r"Scumble listens on (http://\S+)", first)
        assert found, f"{first}\n{(home / 'log').read_text()}"
        yield found[1]
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def ids(url):
    ids = [model["endpoint_id"] for model in read(url, "/v1/models?limit=100")["models"]]
    assert len(ids) >= 27
    return ids


def read(url, path):
    answer = httpx.get(url + path, timeout=30)
    assert answer.status_code == 200, path
    return answer.json()


def make(folder, document, name):
    """A package of this name. What its maker complains of fails the test."""
    source = folder / f"{name}.json"
    source.write_text(json.dumps(document))
    config = Config.from_sources(
        ConfigFile(post_hooks=[]),
        MetaType.NONE,
        document_source=source,
        file_encoding="utf-8",
        overwrite=True,
        output_path=folder / name,
    )
    complaints = openapi_python_client.generate(config=config)
    told = [f"{complaint.level}: {complaint.header} {complaint.detail}" for complaint in complaints]
    assert told == [], f"{name} is made without a warning"


def word(id):
    """`fal-ai/flux/dev` as the name of a package."""
    return re.sub(r"\W", "_", id)


def part(package, path):
    return importlib.import_module(f"{package}.{path}")


def test_every_document_is_valid(url, ids):
    validate(read(url, "/openapi.json"))
    for id in ids:
        validate(read(url, f"/models/{id}/openapi.json"))
        validate(read(url, f"/api/openapi/queue/openapi.json?endpoint_id={id}"))


def test_every_endpoint_makes_a_client(url, ids, folder):
    for id in ids:
        make(folder, read(url, f"/models/{id}/openapi.json"), word(id))
        calls = part(word(id), "api.default")
        for call in ("submit", "status", "result", "cancel"):
            assert importlib.import_module(f"{calls.__name__}.{call}").sync, f"{id}: {call}"


def test_the_whole_server_makes_a_client(url, folder):
    document = read(url, "/openapi.json")
    make(folder, document, "server")
    calls = [call["operationId"] for methods in document["paths"].values() for call in methods.values()]
    made = {path.stem for path in (folder / "server/api").glob("*/*.py") if path.stem != "__init__"}
    assert len(set(calls)) == len(calls) and made == set(calls)


@pytest.mark.parametrize("id", ["fal-ai/aura-flow", "scumble/starter"])
def test_a_made_client_submits_waits_and_fetches(url, folder, id):
    name = word(id)
    make(folder, read(url, f"/models/{id}/openapi.json"), name)
    client = part(name, "client").Client(base_url=f"{url}/queue", raise_on_unexpected_status=True)
    models = part(name, "models")
    given = getattr(models, "".join(w.capitalize() for w in re.split(r"\W", id)) + "Input")
    submit, status, result = (part(name, f"api.default.{call}") for call in ("submit", "status", "result"))
    queued = submit.sync(client=client, body=given(prompt="a red circle"))
    assert (queued.status.value, queued.logs) == ("IN_QUEUE", None)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        stands = status.sync_detailed(queued.request_id, client=client, logs=1)
        ended = stands.parsed.status.value == "COMPLETED"
        assert stands.status_code == (200 if ended else 202)
        if ended:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stands.parsed.logs and all(line.message and line.level for line in stands.parsed.logs)
    image = result.sync(queued.request_id, client=client).images[0]
    assert httpx.get(image.url).headers["content-type"].startswith("image/")
    # errors are declared, and read as what they are
    unknown = status.sync("764cabcf-b745-4b3e-ae38-1200304cf45b", client=client)
    assert (type(unknown).__name__, unknown.detail) == ("Error", "Request not found")
    wrong = submit.sync(client=client, body=given(prompt="x", num_images=99))
    while status.sync(wrong.request_id, client=client).status.value != "COMPLETED":
        time.sleep(0.05)
    told = result.sync(wrong.request_id, client=client)
    assert (type(told).__name__, told.detail[0].loc) == ("HTTPValidationError", ["body", "num_images"])
