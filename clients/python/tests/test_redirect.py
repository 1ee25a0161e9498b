"""The four ways to point the client at this server, each over the same calls."""

import json
import os
import subprocess
import sys

import flavours
import httpx
import pytest
from fal_client import FalClientHTTPError
from scumble import CARD, FLUX, ROOT, SHARED, constants

FLAGS = ["--tls-dev", "--connect", "--stand-in=100"]


def program(place, key, what, environment):
    """What a program that knows nothing of this server prints; `what` is how much it does."""
    words = [sys.executable, str(ROOT / "clients/python/everything.py"), what]
    env = {"PATH": os.environ["PATH"], "HOME": str(place.folder), "FAL_KEY": key, **environment}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)


def check(run, urls, files, more=()):
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    for url in seen.pop("urls"):
        assert url.startswith(f"{urls}/fal-ai/flux/requests/"), url
    assert seen.pop("picture").startswith(files)
    if more:
        assert seen.pop("uploaded").startswith(files)
    expected = {"run": 1, "subscribe": 1, "result": 1, "later": 1, "events": ["Completed"], "asynchronous": [1, 1]}
    assert seen == {**expected, "stream": 1, "realtime": 8, "status": 200, **dict(more)}


EVERYTHING = {"token": 8, "text": "hello"}


def test_1_4_mode_a_the_environment(place, server, key):
    environment = {
        "FAL_RUN_HOST": f"{server.address}/run",
        "FAL_QUEUE_RUN_HOST": f"{server.address}/queue",
        "SSL_CERT_FILE": str(place.authority),
    }
    here = f"https://{server.address}"
    check(program(place, key, "calls", environment), f"{here}/queue", f"{here}/cdn/files/")


def test_1_4_mode_b_the_modules_constants(fal, server):
    """The other files of this suite do everything in this mode; here, that URLs look as the caller's."""
    handle = fal.submit(FLUX, CARD)
    assert handle.status_url == f"{server.url}/queue/fal-ai/flux/requests/{handle.request_id}/status"
    assert handle.get()["images"][0]["url"].startswith(f"{server.url}/cdn/files/")


def test_1_5_mode_c_a_forward_proxy(place, server, key):
    environment = {"HTTPS_PROXY": server.url, "SSL_CERT_FILE": str(place.authority)}
    run = program(place, key, "everything", environment)
    check(run, "https://queue.fal.run", ("https://v3.fal.media/", "https://v3b.fal.media/"), EVERYTHING)


def test_1_4_mode_d_names_and_an_authority(place, server, key):
    environment = {
        "PYTHONPATH": str(SHARED / "python"),
        "SCUMBLE_PORT": server.port,
        "SSL_CERT_FILE": str(place.authority),
    }
    run = program(place, key, "everything", environment)
    check(run, "https://queue.fal.run", ("https://v3.fal.media/", "https://v3b.fal.media/"), EVERYTHING)


def test_1_a_program_that_does_not_trust_the_authority_says_so(place, server, key):
    run = program(place, key, "calls", {"PYTHONPATH": str(SHARED / "python"), "SCUMBLE_PORT": server.port})
    assert run.returncode != 0 and "CERTIFICATE_VERIFY_FAILED" in run.stderr


@pytest.mark.parametrize("target", ["https://example.com", "https://127.0.0.1:1", "https://fal.run:22"])
def test_5_the_forward_proxy_leads_nowhere_else(server, target):
    with pytest.raises(httpx.ProxyError):
        httpx.get(target, proxy=server.url, verify=False)


def test_5_without_the_flag_there_is_no_forward_proxy(own_place):
    server = own_place.start("--tls-dev", "--stand-in")
    with pytest.raises(httpx.ProxyError):
        httpx.get("https://fal.run/", proxy=server.url, verify=False)


@pytest.mark.parametrize("flavour", ["sync", "async"])
def test_4_urls_follow_the_public_address(own_place, flavour):
    key = own_place.key()
    server = own_place.start("--stand-in", settings='[server]\npublic_url = "https://images.example.com"\n')
    with constants(server):
        handle = flavours.make(flavour, key).submit(FLUX, CARD)
        assert handle.status_url.startswith("https://images.example.com/queue/fal-ai/flux/requests/")


def test_7_a_program_without_a_key_asks_nothing(place, server):
    run = program(place, "", "calls", {"FAL_RUN_HOST": f"{server.address}/run"})
    assert run.returncode != 0 and "MissingCredentials" in run.stderr
    with pytest.raises(FalClientHTTPError) as refused:
        flavours.make("sync", "wrong:key").run(FLUX, CARD)
    assert refused.value.status_code == 401
