"""The systemd unit: read by systemd itself, and what it starts and stops with is done here. It is not started by systemd, which
does not run where these tests do; instead every system call of a working server is held against the unit's filter."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from place import BINARY, ROOT, Server, eventually

UNIT = ROOT / "deploy/systemd/scumble.service"
SLOW = "fal-ai/flux/dev"


class Unit:
    """The unit's settings; one that is given twice is a list."""

    def __init__(self, text):
        self.settings = {}
        for line in text.splitlines():
            if line and not line.startswith(("#", "[")):
                name, value = line.split("=", 1)
                self.settings.setdefault(name, []).append(value)

    def __getitem__(self, name):
        [value] = self.settings[name]
        return value


@pytest.fixture(scope="module")
def unit():
    return Unit(UNIT.read_text())


def analyze(*words):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True)


def test_systemd_understands_it(tmp_path):
    # it looks whether the program is there
    copy = tmp_path / "scumble.service"
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/scumble", BINARY))
    found = analyze("verify", "--man=no", str(copy))
    assert found.returncode == 0 and found.stdout + found.stderr == "", found.stderr


def test_it_is_hardened():
    # of 100 that a unit has which says nothing; a network it cannot do without
    found = analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(UNIT))
    assert found.returncode == 0, found.stdout


def started(place, unit, more=()):
    """A server by the unit's own words, with its folders here. Systemd gives it nothing else."""
    etc = place.folder / "etc"
    etc.mkdir()
    (etc / "scumble.toml").write_text("")
    changes = {
        "/usr/local/bin/scumble": BINARY,
        "/etc/scumble/": f"{etc}/",
        "/var/lib/scumble": str(place.data),
    }
    words = shlex.split(unit["ExecStart"])
    for before, after in changes.items():
        assert any(word.startswith(before) for word in words), before
        words = [f"{after}{word.removeprefix(before)}" if word.startswith(before) else word for word in words]
    words = [*words, "--listen", "127.0.0.1:0", *more]
    assert words[0] == BINARY
    server = Server(place, words, {})
    place.servers.append(server)
    server.wait()
    return server


def test_what_it_names_is_what_the_guide_makes(unit):
    guide = (ROOT / "docs/OPERATIONS.md").read_text()
    home = "/var/lib/" + unit["StateDirectory"]
    assert f"useradd --system --home-dir {home} " in guide and f"/nologin {unit['User']}\n" in guide
    assert f"install -o {unit['User']} -g {unit['Group']} -m 700 -d {home}" in guide and unit["StateDirectoryMode"] == "0700"
    assert "/etc/scumble/scumble.toml" in unit["ExecStart"] and "/etc/scumble/scumble.toml" in guide


def stop(unit, server, patience_s):
    """As systemd stops it: ExecStop, then SIGTERM for what is still there. How long the first took."""
    command = unit["ExecStop"].removeprefix("-")
    assert "timeout 600 " in command
    words = shlex.split(command.replace("timeout 600 ", f"timeout {patience_s} "))
    pid = server._process.pid
    # the server is this process's child, and would stay as a zombie until somebody asks for its end
    began = time.monotonic()
    stopping = subprocess.Popen(words, env={"PATH": os.environ["PATH"], "MAINPID": str(pid)})
    eventually("the unit's command returns", lambda: server._process.poll() is not None or stopping.poll() is not None)
    took = time.monotonic() - began
    stopping.wait(30)
    if server._process.poll() is None:
        server._process.terminate()
    return took


def test_jobs_at_hand_end_before_it_does(place, unit):
    server = started(place, unit, ["--stand-in=2000"])
    sent = server.raw("POST", f"/queue/{SLOW}", json={"prompt": "a red star"}).json()["request_id"]
    eventually("the job runs", lambda: state(place, sent) == "running")
    took = stop(unit, server, 600)
    assert server._process.wait(30) == 0, server.log
    assert took < 60 and state(place, sent) == "done"


def test_what_takes_too_long_goes_back_to_the_queue(place, unit):
    server = started(place, unit, ["--stand-in=600000"])
    sent = server.raw("POST", f"/queue/{SLOW}", json={"prompt": "a red star"}).json()["request_id"]
    eventually("the job runs", lambda: state(place, sent) == "running")
    stop(unit, server, 2)
    assert server._process.wait(30) == 0, server.log
    assert state(place, sent) == "queued"


def test_there_is_time_for_both(unit):
    assert int(unit["TimeoutStopSec"]) == 600 + 30


def state(place, job):
    words = [BINARY, "jobs", "show", job, "--json", "--data-dir", str(place.data)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["state"]


def test_errors_that_stay_are_not_tried_again(place, unit):
    """A key that was never made, and a setting that means nothing."""
    final = {int(code) for code in unit["RestartPreventExitStatus"].split()}
    (place.folder / "wrong.toml").write_text("[server]\nlisten = 1.5\n")
    for words in (["--listen", "0.0.0.0:0"], ["--config", str(place.folder / "wrong.toml")]):
        words = [BINARY, "serve", "--data-dir", str(place.data), *words]
        ended = subprocess.run(words, env=place.environment(), capture_output=True, text=True, timeout=60)
        assert ended.returncode in final, ended.stderr


def calls_of(group):
    """The system calls of a group of systemd's, with those of the groups in it."""
    found = analyze("syscall-filter", group)
    assert found.returncode == 0, found.stderr
    words = [line.strip() for line in found.stdout.splitlines() if line.startswith(" ") and not line.strip().startswith("#")]
    names = {word for word in words if not word.startswith("@")}
    for inner in (word for word in words if word.startswith("@")):
        names |= calls_of(inner)
    return names


def test_a_working_server_makes_no_call_that_is_filtered(place, unit):
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    allowed, denied = unit.settings["SystemCallFilter"]
    assert (allowed, denied) == ("@system-service", "~@privileged")
    permitted = (calls_of("@system-service") | calls_of("@default")) - calls_of("@privileged")
    trace = traced(place)
    made = {}
    for line in trace.read_text(errors="replace").splitlines():
        if found := re.match(r"\d+ +(\w+)\((.*)", line):
            made.setdefault(found[1], found[2])
            # MemoryDenyWriteExecute
            if found[1] in ("mmap", "mprotect", "pkey_mprotect"):
                assert not ("PROT_WRITE" in found[2] and "PROT_EXEC" in found[2]), line
            # RestrictAddressFamilies
            if found[1] == "socket":
                family = found[2].split(",")[0]
                assert family in unit["RestrictAddressFamilies"].split(), line
    assert {"execve", "accept4", "fdatasync", "mmap"} <= set(made), made.keys()
    assert set(made) <= permitted, {name: made[name] for name in set(made) - permitted}


NOBODY = 65534


def traced(place):
    """Everything once that a server does, for somebody without privileges: start, draw, keep, upload, answer, stop. The calls."""
    own = place.folder / "own"
    own.mkdir()
    program = own / "scumble"
    shutil.copy(BINARY, program)
    words = ["strace", "-f", "-qq", "-s", "0", "-o", str(own / "trace.txt"), str(program)]
    words += ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir", str(own / "data")]
    if os.geteuid() == 0:
        # SQLite gives its files away where it may
        place.folder.chmod(0o711)
        os.chown(own, NOBODY, NOBODY)
        words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words]
    printed, log = place.folder / "printed.txt", place.folder / "log.txt"
    with open(printed, "wb") as out, open(log, "wb") as err:
        process = subprocess.Popen(words, env={**place.environment(), "HOME": str(own)}, stdout=out, stderr=err)
    try:

        def announced():
            assert process.poll() is None, log.read_text()
            return re.search(r"^Scumble listens on (http://\S+)", printed.read_text(), re.MULTILINE)

        url = eventually("the server listens", announced)[1]
        made = httpx.post(f"{url}/run/scumble/starter", json={"prompt": "a red star", "num_inference_steps": 2}, timeout=120)
        assert made.status_code == 200, made.text
        assert httpx.get(made.json()["images"][0]["url"]).content.startswith(b"\x89PNG")
        token = httpx.post(f"{url}/rest/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()["token"]
        kind = {"authorization": f"Bearer {token}", "content-type": "image/png"}
        assert httpx.post(f"{url}/cdn/files/upload", content=bytes(100_000), headers=kind).status_code == 200
        assert httpx.get(f"{url}/history").status_code == 200
        # the program, not strace, which passes nothing on
        for child in children(process):
            os.kill(child, signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            for child in children(process):
                os.kill(child, signal.SIGKILL)
            process.wait()
    return own / "trace.txt"


def children(process):
    return [int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
