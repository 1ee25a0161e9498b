"""A server for tests: on a free port, with a folder of its own, gone with the test."""

import os
import re
import subprocess

import pytest
from fal_server import use_server


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Starts `scumble serve` with these flags, and points fal's client at it."""
    # the client keeps what it has asked with; each test begins anew
    monkeypatch.setenv("FAL_KEY", "none")
    started = []

    def start(*flags):
        words = ["serve", "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "scumble", *flags]
        # no setting or maker's key of yours gets in
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RUST_LOG": "warn"}
        scumble = os.environ.get("SCUMBLE_BIN", "scumble")
        process = subprocess.Popen([scumble, *words], env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        for line in process.stdout:
            if said := re.match(r"Scumble listens on (http:\S+)", line):
                return use_server(said[1])
        pytest.fail("scumble has not started; its words are in the captured stderr")

    yield start
    for process in started:
        process.kill()
        process.communicate()
