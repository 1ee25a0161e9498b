"""`huggingface_hub` reads the cache that `scumble models pull` made, and the other way round."""

import os
import subprocess
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from hub import COMMIT, Hub, checksum
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download

ROOT = Path(__file__).resolve().parents[3]
BINARY = os.environ.get("SCUMBLE_BIN", str(ROOT / "target/release/scumble"))
REPO = "black-forest-labs/FLUX.1-schnell"
PULL = ["models", "pull", "fal-ai/flux/schnell"]
LARGE = "transformer/diffusion_pytorch_model.safetensors"
UNUSED = {"README.md": b"# a model\n", "flux1-schnell.safetensors": b"x" * 1000}


def starter():
    """The one checkpoint that every copy of this project has: a FLUX.1 of its own, small enough to be pulled in a moment."""
    folder = ROOT / "starter/weights"
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


class Desk:
    """A hub and a home."""

    def __init__(self, home):
        self.files = starter()
        self.hub = Hub({REPO: {**self.files, **UNUSED}})
        self.home = home
        self.cache = home / "hub"

    def environment(self, **more):
        ours = {"PATH": os.environ["PATH"], "HOME": str(self.home), "HF_HOME": str(self.home), "HF_ENDPOINT": self.hub.url}
        return ours | more

    def scumble(self, *words, code=0, **more):
        made = subprocess.run([BINARY, *words], env=self.environment(**more), capture_output=True, text=True, timeout=120)
        assert made.returncode == code, made.stderr
        return made

    def snapshot(self, **more):
        patterns = {"allow_patterns": list(self.files)}
        return Path(snapshot_download(REPO, cache_dir=self.cache, endpoint=self.hub.url, **(patterns | more)))

    def is_right(self, folder):
        for path, data in self.files.items():
            assert (folder / path).read_bytes() == data, path


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.hub.close()


def test_python_reads_what_scumble_pulled(desk):
    folder = Path(desk.scumble(*PULL).stdout.strip())
    desk.is_right(folder)
    asked = len(desk.hub.asked)
    assert asked > 0 and "flux1-schnell.safetensors" not in desk.hub.asked
    # without a network, by the branch's name and by the commit
    for revision in ("main", COMMIT):
        offline = desk.snapshot(local_files_only=True, revision=revision)
        assert offline == desk.cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
        desk.is_right(offline)
    # with one, nothing comes again
    desk.is_right(desk.snapshot())
    assert Path(hf_hub_download(REPO, LARGE, cache_dir=desk.cache, endpoint=desk.hub.url)).read_bytes() == desk.files[LARGE]
    assert len(desk.hub.asked) == asked
    found = scan_cache_dir(desk.cache)
    assert not found.warnings
    (repository,) = found.repos
    assert repository.repo_id == REPO and repository.nb_files == len(desk.files)
    assert repository.refs.keys() == {"main"}


def test_scumble_reads_what_python_fetched(desk):
    desk.is_right(desk.snapshot())
    desk.hub.asked.clear()
    made = desk.scumble(*PULL)
    assert "are here already" in made.stderr
    desk.is_right(Path(made.stdout.strip()))
    assert desk.hub.asked == []
    desk.scumble("models", "remove", "fal-ai/flux/schnell")
    assert not list(desk.cache.glob("models--*/blobs/*"))


def test_scumble_needs_no_network_for_what_python_fetched(desk):
    desk.snapshot()
    desk.hub.close()
    made = desk.scumble(*PULL, HF_HUB_OFFLINE="1")
    desk.is_right(Path(made.stdout.strip()))
    picture = desk.home / "star.png"
    desk.scumble("run", "fal-ai/flux/schnell", "a star", "-i", "num_inference_steps=1", "-i", "image_size=32x32", "-o", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_python_takes_nothing_half_fetched_for_whole(desk):
    desk.hub.hang.set()
    child = subprocess.Popen([BINARY, *PULL], env=desk.environment(), stderr=subprocess.PIPE)
    assert desk.hub.hanging.wait(60)
    child.kill()
    child.communicate()
    desk.hub.hang.clear()
    with pytest.raises(Exception, match="(?i)local|cache|offline|found"):
        hf_hub_download(REPO, LARGE, cache_dir=desk.cache, endpoint=desk.hub.url, local_files_only=True)
    file = hf_hub_download(REPO, LARGE, cache_dir=desk.cache, endpoint=desk.hub.url)
    assert Path(file).read_bytes() == desk.files[LARGE]
    desk.is_right(Path(desk.scumble(*PULL).stdout.strip()))
    desk.is_right(desk.snapshot(local_files_only=True))


def test_one_waits_for_the_other(desk):
    lock = desk.cache / ".locks" / f"models--{REPO.replace('/', '--')}" / f"{checksum(LARGE, desk.files[LARGE])}.lock"
    lock.parent.mkdir(parents=True)
    waits = threading.Event()
    with FileLock(lock):
        child = subprocess.Popen([BINARY, *PULL], env=desk.environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = []

        def listen():
            for line in child.stderr:
                said.append(line)
                if "another program" in line:
                    waits.set()

        listening = threading.Thread(target=listen)
        listening.start()
        assert waits.wait(60), said
        assert LARGE not in desk.hub.asked
    assert child.wait(60) == 0
    listening.join()
    assert LARGE in desk.hub.asked
