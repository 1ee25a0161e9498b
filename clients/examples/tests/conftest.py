"""Each example as a process of its own, in both languages, as a person would start it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from place import BINARY, Place, eventually

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
LANGUAGES = ["python", "javascript"]


@pytest.fixture
def place():
    place = Place()
    yield place
    place.close()


@pytest.fixture(params=LANGUAGES)
def language(request):
    return request.param


@pytest.fixture
def start(place, language):
    """Starts a program of an example; it is gone with the test."""
    started = []

    def start(example, words, **environment):
        program = Program(place, language, example, words, environment)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()


class Program:
    """A running program of an example, and what it has said."""

    def __init__(self, place, language, example, words, environment):
        self.folder = EXAMPLES / language / example
        path = place.folder / f"program-{os.urandom(4).hex()}.txt"
        environment = {**place.environment(), "SCUMBLE_BIN": BINARY, "PYTHONDONTWRITEBYTECODE": "1", **environment}
        environment = {name: str(value) for name, value in environment.items()}
        command = [sys.executable if language == "python" else "node", *map(str, words)]
        with open(path, "wb") as file:
            self._process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=file, stderr=file)
        self._path = path

    @property
    def said(self):
        return self._path.read_text(errors="replace")

    def address(self, pattern):
        """Where it listens."""

        def announced():
            if self._process.poll() is not None:
                raise AssertionError(f"the program ended at once:\n{self.said}")
            return pattern.search(self.said)

        return eventually("the program says where it listens", announced)[1]

    def ended(self, patience_s=120):
        """Waits for its end and gives its exit code."""
        return self._process.wait(patience_s)

    @property
    def runs(self):
        return self._process.poll() is None

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


def again(place, server, *flags, **more):
    """A server at the address, and on the data, of one that has ended."""
    return place.start("--listen", server.address, *flags, listens=False, **more)
