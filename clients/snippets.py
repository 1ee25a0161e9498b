"""Runs the examples of docs/CLIENTS.md and docs/WEBHOOKS.md against a live server, as a reader would; and those of a model's
page, as they stand there, on a server without keys and without FAL_KEY.

A comment before a fenced block says what it is:

    <!-- file: NAME -->                a file beside the blocks that follow
    <!-- start -->                     a program that runs beside the next block, once it has printed something
    <!-- run; prints: PATTERN -->      a program that has to succeed and print this
    <!-- run with names; prints: … --> the same, where fal's names lead to the server
    <!-- run without a key; prints: … --> the same, where FAL_KEY is not set
    <!-- run; prints: …; beside: PATTERN --> the program that runs beside it prints that, then or later

Blocks without one are for reading. Needs node with what `npm ci` installed into clients/js and clients/js-old, curl, and
the Python that has clients/python/requirements.txt, which is the one to run this with.
"""

import html
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "docs/CLIENTS.md", ROOT / "docs/WEBHOOKS.md"]
BINARY = os.environ.get("SCUMBLE_BIN") or str(ROOT / "target/release/scumble")
SHARED = ROOT / "clients/shared"
BLOCK = re.compile(r"^<!-- (?P<words>[^>]*) -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS = re.compile(r"file: (?P<file>[\w.]+)|(?P<start>start)|run(?P<names> with names)?(?P<keyless> without a key)?; prints: (?P<prints>.+?)(?:; beside: (?P<beside>.+))?")
PROGRAMS = {"js": ["node", "--experimental-websocket"], "python": [sys.executable], "sh": ["bash", "-euo", "pipefail"]}
PAGE = "/models/scumble/starter"
ON_PAGE = re.compile(r'<code data-language="(\w+)"[^>]*>(.*?)</code>', re.DOTALL)
# the one in Rust needs a project around it
PAGE_PROGRAMS = {"js": ["node"], "python": [sys.executable], "curl": ["bash"]}
PATIENCE_S = 180


def main():
    folder = Path(tempfile.mkdtemp(prefix="scumble-snippets-"))
    started = []
    try:
        reader = Reader(folder, started)
        failures = [failure for document in DOCUMENTS for block in blocks(document) if (failure := reader.do(*block))]
        failures += [failure for example in reader.page() if (failure := reader.do_as_it_stands(*example))]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()
        shutil.rmtree(folder)
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(f"{len(failures)} of {reader.count} examples failed" if failures else None)


def blocks(path):
    """Place, words, language and text of each marked block. A mark that means nothing is an error."""
    document = path.read_text()
    found = list(BLOCK.finditer(document))
    marks = len(re.findall(r"^<!--", document, re.MULTILINE))
    if len(found) != marks:
        sys.exit(f"{path.name}: {marks} marks, but {len(found)} blocks right behind one")
    for block in found:
        line = document[: block.start()].count("\n") + 1
        words = WORDS.fullmatch(block["words"])
        if words is None or block["language"] not in PROGRAMS:
            sys.exit(f"{path.name}:{line}: do not know what to do with: {block['words']} ({block['language']})")
        yield f"{path.name}:{line}", words, block["language"], block["text"]


class Reader:
    """Somebody with a home folder, a server and the clients installed, who tries one example after the other."""

    def __init__(self, folder, started):
        self.folder, self.started, self.count = folder, started, 0
        self.work = folder / "work"
        self.work.mkdir()
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "FAL_KEY": "any",
        }
        self.link("js", "js-old")
        self.address = self.serve()
        # those of the documents, and what stands for them here
        self.ports = {port: free_port() for port in ("3000", "4001", "4002")}

    def link(self, *suites):
        """One node_modules with what all suites have."""
        modules = self.work / "node_modules"
        (modules / "@fal-ai").mkdir(parents=True)
        for suite in suites:
            installed = ROOT / "clients" / suite / "node_modules"
            if not installed.is_dir():
                sys.exit(f"{installed} is not there: run npm ci in clients/{suite}")
            for package in [*installed.glob("[a-z]*"), *installed.glob("@fal-ai/*")]:
                place = modules / package.relative_to(installed)
                if not place.exists():
                    place.symlink_to(package)

    def serve(self):
        # receivers of webhooks are on this machine
        (self.folder / "scumble.toml").write_text("[webhooks]\nallow_private = true\n")
        words = [BINARY, "serve", "--listen", "127.0.0.1:0", "--tls-dev", "--connect"]
        words += ["--config", str(self.folder / "scumble.toml")]
        announced = self.first_line(self.start(words), "the server")
        return re.search(r"http://(\S+)", announced)[1]

    def start(self, words):
        log = open(self.folder / f"log-{len(self.started)}", "w+")
        process = subprocess.Popen(words, cwd=self.work, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        process.log = Path(log.name)
        self.started.append(process)
        return process

    def first_line(self, process, what, pattern=r"^.*(listens on|ready).*$"):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            if found := re.search(pattern, process.log.read_text(), re.MULTILINE):
                return found[0]
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{what} says nothing of {pattern}:\n{process.log.read_text()}")
            time.sleep(0.05)

    def do(self, place, words, language, text):
        """What went wrong with a block, if something did."""
        text = self.here(text)
        if words["file"]:
            (self.work / words["file"]).write_text(text)
            return None
        path = self.work / f"{place.replace(':', '-line-')}.{'mjs' if language == 'js' else language}"
        path.write_text(text)
        if words["start"]:
            self.first_line(self.start([*PROGRAMS[language], str(path)]), place)
            return None
        self.count += 1
        failure = self.run(place, words, [*PROGRAMS[language], str(path)])
        if words["beside"] and not failure:
            self.first_line(self.started[-1], f"what runs beside {place}", words["beside"])
        return failure

    def page(self):
        """Language and text of each example on the page of a model."""
        with urllib.request.urlopen(f"http://{self.address}{PAGE}") as page:
            found = ON_PAGE.findall(page.read().decode())
        examples = [(language, html.unescape(text)) for language, text in found if language in PAGE_PROGRAMS]
        if {language for language, _ in examples} != set(PAGE_PROGRAMS):
            sys.exit(f"{PAGE} has no example in each of {', '.join(PAGE_PROGRAMS)}")
        return examples

    def do_as_it_stands(self, language, text):
        path = self.work / f"page.{'mjs' if language == 'js' else language}"
        path.write_text(text)
        self.count += 1
        environment = {name: value for name, value in self.environment.items() if name != "FAL_KEY"}
        return self.finish(f"{PAGE}, {language}", [*PAGE_PROGRAMS[language], str(path)], environment, "/cdn/files/")

    def run(self, place, words, command):
        environment = {**self.environment, **(self.names() if words["names"] else {})}
        if words["keyless"]:
            del environment["FAL_KEY"]
        return self.finish(place, command, environment, self.here(words["prints"]))

    def finish(self, name, command, environment, prints):
        began = time.monotonic()
        more = {"capture_output": True, "text": True, "timeout": PATIENCE_S}
        try:
            done = subprocess.run(command, cwd=self.work, env=environment, **more)
        except subprocess.TimeoutExpired as late:
            return f"{name} did not end within {PATIENCE_S} s:\n{late.stdout}{late.stderr}"
        if done.returncode != 0:
            return f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        if not re.search(prints, done.stdout, re.MULTILINE):
            return f"{name} printed no {prints}:\n{done.stdout}{done.stderr}"
        print(f"{name} works ({time.monotonic() - began:.1f} s)")
        return None

    def here(self, text):
        """The addresses of the document as those of this run."""
        # in one go: an address may hold what looks like a port of the documents
        places = {"127.0.0.1:8787": self.address, **self.ports}
        return re.sub("|".join(map(re.escape, places)), lambda found: places[found[0]], text)

    def names(self):
        """The part of /etc/hosts and of port 443, for Node and for Python."""
        return {
            "SCUMBLE_PORT": self.address.rsplit(":", 1)[1],
            "NODE_OPTIONS": f"--require {SHARED / 'redirect.cjs'}",
            "PYTHONPATH": str(SHARED / "python"),
        }


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


if __name__ == "__main__":
    main()
