"""Where gateways and workers meet: a PostgreSQL that is there already, and the bucket of compose.yaml as its service starts it."""

import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import yaml
from place import ROOT, eventually
from proxies import free_ports
from running import Running

COMPOSE = ROOT / "compose.yaml"


def compose():
    return yaml.safe_load(COMPOSE.read_text())


def make_secrets(folder):
    """Does what the head of compose.yaml tells its reader to do."""
    commands = re.findall(r"^#   (.+)$", COMPOSE.read_text(), re.MULTILINE)
    commands = [command for command in commands if not command.startswith("docker ")]
    assert commands and commands[0].startswith("mkdir"), commands
    subprocess.run(["bash", "-euo", "pipefail", "-c", "\n".join(commands)], cwd=folder, check=True, capture_output=True)
    return Path(folder) / "secrets"


class Database:
    """A database of its own, dropped in the end."""

    def __init__(self, server):
        self._server = server
        self._name = f"scumble_deploy_{uuid.uuid4().hex[:12]}"
        self._tell(f'CREATE DATABASE "{self._name}"')

    @property
    def url(self):
        parts = urlsplit(self._server)
        return urlunsplit(parts._replace(path=f"/{self._name}"))

    def close(self):
        self._tell(f'DROP DATABASE "{self._name}" WITH (FORCE)')

    def _tell(self, words):
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(words)


def database_server():
    """The URL of a PostgreSQL where databases may be made, or None."""
    return os.environ.get("SCUMBLE_TEST_POSTGRES") or None


class Bucket(Running):
    """The service `bucket` of compose.yaml, on free ports of this machine."""

    def __init__(self, folder, secrets):
        self.folder = Path(folder) / "bucket"
        self.folder.mkdir()
        for attempt in range(5):
            if self._start(secrets, attempt):
                return
        raise AssertionError(f"the bucket does not start:\n{self.log}")

    def _start(self, secrets, attempt):
        shell, flag, script = compose()["services"]["bucket"]["entrypoint"]
        assert (shell, flag) == ("/bin/sh", "-c")
        names = ["master", "volume", "filer", "s3", "admin"]
        ports = free_ports(2 * len(names))
        own = " ".join(f"-{name}.port={ports[2 * n]} -{name}.port.grpc={ports[2 * n + 1]}" for n, name in enumerate(names))
        # it would leave that in /tmp
        own += f" -s3.localSocket={self.folder}/s3.sock"
        data = self.folder / f"data-{attempt}"
        data.mkdir()
        changes = {
            "$$": "$",
            "/run/secrets/": f"{secrets}/",
            "-dir=/data": f"-dir={data}",
            # its sockets for itself have names of their ports
            "-ip=bucket -ip.bind=0.0.0.0": f"-ip=127.0.0.1 -ip.bind=127.0.0.1 {own}",
            "exec weed": f"exec {shutil.which('weed')}",
        }
        for before, after in changes.items():
            assert before in script, f"the service has no {before!r}"
            script = script.replace(before, after)
        self.url = f"http://127.0.0.1:{ports[2 * names.index('s3')]}"
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "TMPDIR": str(self.folder)}
        with open(self.folder / f"log-{attempt}.txt", "wb") as log:
            words = [shell, flag, script]
            self._process = subprocess.Popen(words, cwd=data, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready():
            if self._process.poll() is not None:
                return "ended"
            try:
                healthy = httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
            except httpx.TransportError:
                return None
            # "ready" once all of its parts are
            return "ready" if healthy and "All enabled components are running" in self.log else None

        return eventually("the bucket is there", ready, 60) == "ready"
