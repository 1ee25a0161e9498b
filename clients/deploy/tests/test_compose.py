"""compose.yaml: held against the schema of its format, its words against ours, and what its services run is run here, with a
PostgreSQL and the very bucket. What only an engine does, networks and volumes, is not."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from box import Image
from place import BINARY, ROOT, eventually
from storage import COMPOSE, Bucket, compose, make_secrets

OURS = ["gateway", "worker"]


@pytest.fixture(scope="module")
def services():
    return compose()["services"]


def test_it_follows_the_format():
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_it_names_is_there(services):
    whole = compose()
    for name, service in services.items():
        for secret in service.get("secrets", []):
            assert whole["secrets"][secret]["file"] == f"./secrets/{secret}", name
        for network in service.get("networks", []):
            assert network in whole["networks"], name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in whole["volumes"], volume
        for other, how in service.get("depends_on", {}).items():
            # a health check is what there is to wait for
            assert how == {"condition": "service_healthy"} and "healthcheck" in services[other], name
    used = {secret for service in services.values() for secret in service.get("secrets", [])}
    assert used == set(whole["secrets"])
    assert (ROOT / services["gateway"]["build"] / "Dockerfile").is_file()


def test_only_this_machine_reaches_it(services):
    assert {name for name, service in services.items() if "ports" in service} == {"gateway"}
    assert services["gateway"]["ports"] == ["127.0.0.1:8787:8787"]
    # what asks nobody for a key is in a network that leads nowhere
    assert compose()["networks"]["storage"]["internal"] is True
    assert services["bucket"]["networks"] == services["database"]["networks"] == ["storage"]


def test_its_variables_mean_something(services):
    known = (ROOT / "docs/SETTINGS.md").read_text()
    for name in OURS:
        for variable in services[name]["environment"]:
            assert f"`{variable}`" in known or variable == "SCUMBLE_CONFIG", variable
    for text in re.findall(r"SCUMBLE_\w+|AWS_\w+|DATABASE_\w+", COMPOSE.read_text()):
        assert f"`{text}`" in known, text


def test_services_write_to_their_volumes_alone(services):
    volumes = Image().of("VOLUME")[-1].value
    for name in OURS:
        service = services[name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        mounted = {volume.split(":")[1] for volume in service["volumes"]} | set(service["tmpfs"])
        assert "/data" in mounted and mounted <= {*volumes, "/tmp", "/etc/scumble/scumble.toml"}, name
    assert any(volume.endswith(":/models") for volume in services["worker"]["volumes"])


@pytest.fixture
def secrets(place):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return make_secrets(place.folder)


def environment(services, name, secrets, bucket):
    """A service's variables, with what is elsewhere here."""
    image = {key: value for key, value in Image().environment.items() if key not in ("SCUMBLE_LISTEN", "SCUMBLE_DATA_DIR")}
    changes = {
        "/run/secrets/": f"{secrets}/",
        "http://bucket:8333": bucket.url,
        "/etc/scumble/scumble.toml": str(ROOT / "deploy/compose/scumble.toml"),
        "0.0.0.0:9464": "127.0.0.1:0",
        "/models": str(secrets.parent / "models"),
    }
    found = {**image, **services[name]["environment"]}
    for before, after in changes.items():
        assert any(before in value for value in found.values()), before
        found = {key: value.replace(before, after) for key, value in found.items()}
    return found


def test_the_secrets_are_made_as_it_says(secrets):
    assert secrets.stat().st_mode & 0o777 == 0o700
    for path in secrets.iterdir():
        # the users in the containers are others
        assert path.stat().st_mode & 0o444 == 0o444, path
    password = (secrets / "database-password").read_text().strip()
    assert re.fullmatch(r"[0-9a-f]{48}", password)
    assert (secrets / "database-url").read_text() == f"postgres://scumble:{password}@database/scumble"


def test_gateway_and_worker_do_their_work(place, services, secrets, database):
    bucket = Bucket(place.folder, secrets)
    try:
        work(place, services, secrets, database, bucket)
    finally:
        bucket.close()


def work(place, services, secrets, database, bucket):
    (secrets / "database-url").write_text(database.url)
    settings = {name: environment(services, name, secrets, bucket) for name in OURS}

    # docker compose run --rm gateway keys create --label me
    words = [BINARY, "keys", "create", "--label", "me", "--data-dir", str(place.data)]
    made = subprocess.run(words, env={**place.environment(), **settings["gateway"]}, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr

    # docker compose up: both at once, on an empty bucket
    started = {}
    for name in OURS:
        serve, *flags = services[name]["command"]
        assert serve == "serve"
        started[name] = place.start(*flags, environment=settings[name])
    gateway, worker = started["gateway"], started["worker"]
    assert worker.raw("GET", "/health").status_code == 200
    # names that the gateway's metrics have, for whoever scrapes the network `calls`
    assert "scumble_build_info" in httpx.get(f"{worker.metrics}/metrics").text

    headers = {"authorization": f"Key {made.stdout.strip()}"}
    body = {"prompt": "a red star", "num_inference_steps": 2}
    sent = gateway.raw("POST", "/queue/scumble/starter", json=body, headers=headers).json()
    path = httpx.URL(sent["response_url"]).path

    def ended():
        answer = gateway.raw("GET", path, headers=headers)
        return answer.json() if answer.status_code == 200 else None

    picture = httpx.URL(eventually("the job ends", ended)["images"][0]["url"]).path
    assert gateway.raw("GET", picture).content.startswith(b"\x89PNG")

    # a caller's own file, larger than one request to a bucket
    data = b"0123456789abcdef" * (1024 * 1024)
    kind = {"content-type": "application/octet-stream", "x-fal-file-name": "large.bin"}
    token = gateway.raw("POST", "/rest/storage/auth/token?storage_type=fal-cdn-v3", json={}, headers=headers).json()["token"]
    kind["authorization"] = f"Bearer {token}"
    url = gateway.raw("POST", "/cdn/files/upload", content=data, headers=kind).json()["access_url"]
    assert gateway.raw("GET", httpx.URL(url).path).content == data

    # nothing is in the processes
    for server in (worker, gateway):
        server.stop()
    again = place.start("--role", "gateway", environment=settings["gateway"])
    assert again.raw("GET", picture).content.startswith(b"\x89PNG")
    assert not list(Path(place.data).glob("files/**/*.png"))
