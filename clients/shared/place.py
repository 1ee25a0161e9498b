"""The real binary as a child process with a folder and a port of its own, for every suite in Python."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SCUMBLE_BIN") or str(ROOT / "target/release/scumble")
ANNOUNCED = re.compile(r"^Scumble (?:listens on (http://\S+)|works$)", re.MULTILINE)
METRICS = re.compile(r"^Metrics are at (http://\S+)/metrics$", re.MULTILINE)


def eventually(what, ask, deadline_s=60):
    """Asks again and again until there is an answer that is not None or False."""
    deadline = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.02)


class Place:
    """A fresh folder and the servers that live in it; all is gone in the end."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="scumble-py-"))
        self.data = self.folder / "data"
        self.servers = []

    @property
    def authority(self):
        """The certificate that programs have to trust, where a server runs with --tls-dev."""
        return self.data / "tls" / "ca.pem"

    def start(self, *flags, settings=None, environment=None, listens=True, data=None, binary=BINARY):
        """Starts a server on a free port, or a worker that does not listen. All servers of a place have the same data,
        but for those with a folder of their own, as on another machine."""
        listening = ["--listen", "127.0.0.1:0"] if listens else []
        words = [binary, "serve", *listening, "--data-dir", str(data or self.data), *flags]
        if settings is not None:
            config = self.folder / f"scumble-{len(self.servers)}.toml"
            config.write_text(settings)
            words += ["--config", str(config)]
        server = Server(self, words, environment or {})
        self.servers.append(server)
        server.wait()
        return server

    def key(self, label="test"):
        """Makes a key. From then on every caller needs one."""
        return self.command("keys", "create", "--data-dir", str(self.data), "--label", label).strip()

    def command(self, *words, environment=None, binary=BINARY):
        """Runs another command of the binary, which has to go well; returns what it prints."""
        ended = self.ended(*words, environment=environment, binary=binary)
        if ended.returncode != 0:
            raise AssertionError(f"{' '.join(words)} failed:\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def ended(self, *words, environment=None, binary=BINARY):
        """Runs another command of the binary to its end, however it ends."""
        environment = {**self.environment(), **(environment or {})}
        return subprocess.run([binary, *words], env=environment, capture_output=True, text=True, timeout=300)

    def environment(self):
        """Nothing of the caller's own settings reaches the binary, and its home is the folder of the test."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "RUST_LOG": "info", "NO_COLOR": "1"}

    def close(self):
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.folder)


class Server:
    """A running `scumble serve`."""

    def __init__(self, place, words, environment):
        number = len(place.servers)
        self._printed, self._log = (place.folder / f"{name}-{number}.txt" for name in ("stdout", "stderr"))
        with open(self._printed, "wb") as printed, open(self._log, "wb") as log:
            environment = {**place.environment(), **environment}
            self._process = subprocess.Popen(words, env=environment, stdout=printed, stderr=log)
        self.url = None

    def wait(self):
        def announced():
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended at once:\n{self.log}")
            return ANNOUNCED.search(self._printed.read_text())

        self.url = eventually("the server says where it listens", announced)[1]

    @property
    def metrics(self):
        """Where its metrics are, where they have an address of their own."""
        return eventually("the server says where its metrics are", lambda: METRICS.search(self._printed.read_text()))[1]

    @property
    def log(self):
        """What the server has written to its log."""
        return self._log.read_text()

    @property
    def address(self):
        """Host and port."""
        return self.url.split("://")[1]

    @property
    def port(self):
        return self.address.rsplit(":", 1)[1]

    def raw(self, method, path, **more):
        """A request as it is, where no client would send it."""
        return httpx.request(method, self.url + path, timeout=30, **more)

    def stop(self, patience_s=60):
        """SIGTERM, and waits until it has ended well."""
        self._process.terminate()
        if self._process.wait(patience_s) != 0:
            raise AssertionError(f"the server did not end well:\n{self.log}")

    def kill(self):
        """SIGKILL, as a power cut would."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
