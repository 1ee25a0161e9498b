"""The Dockerfile: looked through by hadolint, parsed by Docker's own parser, its context laid out, and its last stage acted out.
It is not built: that takes an engine, and the network."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from box import Image
from docker.utils import exclude_paths
from place import ROOT, eventually


@pytest.fixture(scope="module")
def image():
    return Image()


@pytest.fixture(scope="module")
def context():
    """What Docker would send to the build, by its own client's reading of .dockerignore."""
    patterns = [line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines()]
    patterns = [pattern for pattern in patterns if pattern and not pattern.startswith("#")]
    return {path for path in exclude_paths(str(ROOT), patterns) if (ROOT / path).is_file()}


def copied(image, context):
    """The files of the context that are in the stage that builds."""
    found = set()
    for step in image.of("COPY"):
        if step.flags:
            continue
        *sources, target = step.value
        for source in sources:
            below = {path for path in context if path == source or path.startswith(f"{source}/")}
            assert below, f"COPY {source}: .dockerignore leaves nothing of it"
            # a folder goes under its own name, files into the folder where all is
            assert target == source or target == "./", step.original
            found |= below
    return found


def test_hadolint_finds_nothing():
    found = subprocess.run(["hadolint", "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_is_copied_is_there(image, context):
    stages = {step.value[-1] for step in image.of("FROM") if len(step.value) == 3}
    copied(image, context)
    for step in image.of("COPY"):
        for flag in step.flags:
            assert flag.removeprefix("--from=") in stages, step.original


def test_nothing_else_is_sent(context):
    """No secrets, no target/, no history: all of it would be in layers."""
    tops = {path.split("/")[0] for path in context}
    assert tops == {".cargo", ".dockerignore", "Cargo.lock", "Cargo.toml", "Dockerfile", "crates", "docs", "starter", "web"}
    assert not [path for path in context if path.startswith(("docs/pictures/", "starter/train"))]


def test_it_is_a_whole_workspace(image, context, tmp_path):
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    for path in copied(image, context):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    words = ["cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]
    read = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    # and what the sources take in beside themselves is there too
    taken = re.compile(r'include_(?:str|bytes)!\(\s*(?:concat!\(\s*)?"((?:\.\./)+[^"]*)"')
    seen = set()
    for source in tmp_path.glob("crates/*/src/**/*.rs"):
        for path in taken.findall(source.read_text().split("#[cfg(test)]\nmod tests")[0]):
            target = (source.parent / path).resolve()
            seen.add(target.relative_to(tmp_path.resolve()).parts[0])
            assert target.exists(), f"{source.relative_to(tmp_path)} takes in {path}"
    assert {"docs", "starter", "web"} <= seen


def test_it_builds_with_the_compiler_of_the_project(image):
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    [argument] = [step.value[0] for step in image.of("ARG") if step.value[0].startswith("RUST_VERSION=")]
    assert argument == f"RUST_VERSION={toolchain}"
    first, last = image.of("FROM")
    # what is linked against the one's libraries runs with the other's
    assert first.value[0].endswith("-bookworm") and last.value[0].startswith("debian:bookworm")


def test_what_is_set_means_something(image):
    settings = (ROOT / "docs/SETTINGS.md").read_text()
    for variable in image.environment:
        assert f"`{variable}`" in settings, variable


def test_without_a_key_it_does_not_serve_others(boxes):
    box = boxes()
    assert box.ended() == 2
    assert "no key was made" in box.err


def test_it_serves_as_process_1(boxes, image):
    made = boxes("keys", "create", "--label", "me")
    assert made.ended() == 0, made.err
    box = boxes()
    health = lambda: box.inside(*image.health).returncode == 0
    eventually("it is healthy", health)
    assert "Scumble listens on http://0.0.0.0:8787" in box.out
    status = Path(f"/proc/{box.first}/status").read_text()
    assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE), "it is process 1 of its own"
    assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    key = made.out.strip()
    ask = 'exec 3<>/dev/tcp/127.0.0.1/8787 && printf "$1" >&3 && cat <&3'
    body = '{"prompt":"a red star","num_inference_steps":2,"sync_mode":true}'
    request = f"POST /run/scumble/starter HTTP/1.0\\r\\nAuthorization: Key {key}\\r\\nContent-Type: application/json\\r\\n"
    request += f"Content-Length: {len(body)}\\r\\n\\r\\n{body}"
    answer = box.inside("bash", "-c", ask, "ask", request.replace("%", "%%"))
    assert answer.stdout.startswith("HTTP/1.0 200") or answer.stdout.startswith("HTTP/1.1 200"), answer
    assert "data:image/png;base64," in answer.stdout
    # its data are its own, whoever started the engine
    data = Path(box.place("/data"))
    assert data.stat().st_mode & 0o777 == 0o700 and (data / "scumble.db").stat().st_uid == 10001
    box.signal()
    assert box.ended() == 0, box.err


def test_the_health_check_can_fail(boxes, image):
    box = boxes("serve", "--role", "worker", environment={"SCUMBLE_LISTEN": "127.0.0.1:8788"})
    there = [word.replace("8787", "8788") for word in image.health]
    eventually("it listens elsewhere", lambda: box.inside(*there).returncode == 0)
    assert box.inside(*image.health).returncode != 0
    # somebody answers there, and it is not what was asked for
    missing = [word.replace("/health", "/nothing") for word in there]
    assert box.inside(*missing).returncode != 0
