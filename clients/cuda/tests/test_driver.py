"""The program itself on a card that is none: a driver made of the CPU takes its launches and does what they say.

SCUMBLE_CUDA_BIN names a binary of scripts/build-cuda, WRITE_TINY_BIN one of the example write_tiny. Nothing here needs NVIDIA's
libraries; the driver beside this is built by g++ and has the tensor library's kernels from cargo's folder.
"""

import collections
import json
import math
import os
import re
import shutil
import struct
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import checkpoints
import pictures
from driver.build import build

BINARY = os.environ.get("SCUMBLE_CUDA_BIN")
WRITE_TINY = os.environ.get("WRITE_TINY_BIN")
if not BINARY:
    pytest.skip("THE PROGRAM IS NOT RUN: SCUMBLE_CUDA_BIN names no binary of scripts/build-cuda", allow_module_level=True)

PROMPT = "a red star"
# what the program says of itself while it draws
STAGES = {"Loading the model", "Reading the prompt", "Drawing", "Decoding"}
OURS = {"layer_norm_bf16", "rms_norm_bf16", "norm_rotate_bf16", "finish_bf16", "group_norm_sums_bf16", "group_norm_join",
        "group_norm_apply_bf16", "patches_bf16"}
ATTENTION = {"attention_64", "attention_64_bias", "attention_128", "attention_128_bias"}
SMALL = ("-i", "num_inference_steps=2", "-i", 'image_size={"width":64,"height":64}')


@pytest.fixture(scope="session")
def libraries():
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("THE PROGRAM IS NOT RUN: there is no g++")
    return build()


class Machine:
    """A machine whose only card is the CPU."""

    def __init__(self, libraries, folder):
        self.libraries, self.folder, self.count = libraries, folder, 0

    def environment(self, log=None, **words):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SCUMBLE_DRIVER_")}
        return {**kept, "LD_LIBRARY_PATH": str(self.libraries), "SCUMBLE_DRIVER_LOG": str(log or ""),
                "XDG_DATA_HOME": str(self.folder), **{f"SCUMBLE_DRIVER_{name.upper()}": str(x) for name, x in words.items()}}

    def run(self, *words, device="cuda:0", dtype="float32", prompt=(PROMPT,), **driver):
        """`scumble run`: its end, its picture, its trace, its log."""
        self.count += 1
        picture, trace, log = (self.folder / f"{self.count}.{end}" for end in ("png", "safetensors", "log"))
        log.touch()
        done = subprocess.run([BINARY, "run", *prompt, "--seed", "1", "--device", device, "--dtype", dtype, "-o", picture,
                               "--trace", trace, *words], env=self.environment(log, **driver), capture_output=True, text=True,
                              timeout=170)
        return Drawn(done, picture, trace, Log(log))


class Log:
    def __init__(self, path):
        self.lines = [line.split() for line in path.read_text().splitlines()]
        self.launches = collections.Counter(line[1] for line in self.lines if line[0] == "launch")
        self.refusals = [" ".join(line[1:]) for line in self.lines if line[0] == "refused"]
        self.left = [int(line[4]) for line in self.lines if line[0] == "memory"]


class Drawn:
    def __init__(self, done, picture, trace, log):
        self.code, self.picture, self.trace, self.log = done.returncode, picture, trace, log
        self.said = [line for line in done.stderr.splitlines() if line not in STAGES]

    def right(self):
        assert self.code == 0, self.said
        assert self.log.refusals == [] and self.log.left[-1:] in ([0], [])
        return self


@pytest.fixture(scope="session")
def machine(libraries, tmp_path_factory):
    return Machine(libraries, tmp_path_factory.mktemp("machine"))


def numbers(tensor):
    kind, _, data = tensor
    if kind == "BF16":
        kind, data = "F32", b"".join(b"\0\0" + data[at:at + 2] for at in range(0, len(data), 2))
    letter, size = {"F32": ("f", 4), "F16": ("e", 2), "I64": ("q", 8), "U8": ("B", 1)}[kind]
    return struct.unpack(f"<{len(data) // size}{letter}", data)


def furthest(a, b):
    """The tensor of two traces that differs most, as a share of its largest number."""
    a, b = checkpoints.read(a), checkpoints.read(b)
    assert a.keys() == b.keys()
    worst = (0.0, "")
    for name in a.keys() - {"image.uint8_nhwc"}:
        x, y = numbers(a[name]), numbers(b[name])
        assert len(x) == len(y) and all(map(math.isfinite, y)), name
        size = max(map(abs, x))
        worst = max(worst, (max(abs(p - q) for p, q in zip(x, y)) / (size or 1), name))
    return worst


@pytest.fixture(scope="session")
def starter(machine):
    """The starter's picture, in two steps, as the CPU draws it."""
    return machine.run("-i", "num_inference_steps=2", device="cpu").right()


# ------------------------------------------------------------------------------------------------------- what is there
def test_the_card_is_found_and_told(machine):
    done = subprocess.run([BINARY, "doctor"], env=machine.environment(), capture_output=True, text=True)
    line, = (line for line in done.stdout.splitlines() if re.match(r"\w+ +devices", line))
    assert line.startswith("ok") and "cuda:0 Emulated on the CPU, compute capability 9.0, 4.3 GB of 4.3 GB free" in line


@pytest.mark.parametrize(("driver", "said"), [
    ({"capability": 75}, "has compute capability 7.5; cards from 8.0 on are supported"),
    ({"version": 12080}, "the driver is one for CUDA 12.8, and 13.0 is needed"),
    ({"cards": 0}, "the driver finds no card"),
])
def test_what_is_missing_is_one_sentence(machine, driver, said):
    drawn = machine.run(**driver)
    assert drawn.code == 2 and not drawn.picture.exists()
    line, = drawn.said
    assert line.startswith("error: device 'cuda:0' cannot be used: ") and said in line


def test_without_libraries_it_is_one_sentence_and_the_cpu_draws(machine, starter, tmp_path):
    bare = Machine(tmp_path, tmp_path)
    drawn = bare.run()
    assert drawn.code == 2 and len(drawn.said) == 1 and "is not found" in drawn.said[0]
    on_cpu = bare.run("-i", "num_inference_steps=2", device="cpu")
    assert on_cpu.picture.read_bytes() == starter.picture.read_bytes()


# ---------------------------------------------------------------------------------------------------------- the starter
def test_the_starter_in_float32_is_the_cpus(machine, starter):
    drawn = machine.run("-i", "num_inference_steps=2").right()
    most, mean = pictures.apart(starter.picture, drawn.picture)
    assert most <= 1 and mean < 1e-3 and drawn.said == []
    share, name = furthest(starter.trace, drawn.trace)
    assert share < 1e-4, name


def test_the_starter_in_bfloat16_goes_by_our_kernels(machine, starter):
    drawn = machine.run("-i", "num_inference_steps=2", dtype="bfloat16").right()
    most, mean = pictures.apart(starter.picture, drawn.picture)
    # seen: 6 and 0.34
    assert most <= 12 and mean < 1 and drawn.said == []
    launches = drawn.log.launches
    assert OURS | ATTENTION <= launches.keys()
    # more often than when they were tried
    assert all(launches[name] > 20 for name in OURS - {"group_norm_join"}), launches
    # the plain forms of norms, softmax and convolutions take these
    assert launches["usqr_bf16"] == launches["im2col_bf16"] == 0


@pytest.mark.parametrize("driver", [{"wrong": "rms_norm_bf16"}, {"wrong": "attention_128_bias"}, {"missing": "attention_64"}],
                         ids=lambda driver: "-".join(*driver.items()))
def test_kernels_that_are_wrong_or_missing_are_not_used(machine, driver):
    right, drawn = machine.run(*SMALL, device="cpu"), machine.run(*SMALL, dtype="bfloat16", **driver)
    assert drawn.code == 0, drawn.said
    assert pictures.apart(right.picture, drawn.picture)[0] <= 12
    # they were tried and no more
    assert max(drawn.log.launches[name] for name in OURS | ATTENTION) <= 16, drawn.log.launches


@pytest.mark.parametrize("capability", [80, 86, 103, 120])
def test_other_cards_take_the_code_that_is_made_for_them(machine, capability):
    drawn = machine.run(*SMALL, dtype="bfloat16", capability=capability)
    launches = drawn.right().log.launches
    assert launches["rms_norm_bf16"] > 0
    assert (launches.keys() >= ATTENTION) == (capability != 103)


# --------------------------------------------------------------------------------------------------------------- memory
def test_a_card_that_is_too_small_is_one_sentence(machine):
    drawn = machine.run("-i", "num_inference_steps=1", memory_mib=20, dtype="bfloat16")
    assert drawn.code == 1 and not drawn.picture.exists()
    assert drawn.said == ["error: the memory of the device did not suffice"]


class Server:
    """`scumble serve` on the card, until the end of a block."""

    def __init__(self, machine, **driver):
        self.folder = machine.folder / f"server-{time.monotonic_ns()}"
        self.folder.mkdir()
        (self.folder / "scumble.toml").write_text('[worker]\ndevices = ["cuda:0"]\n[models."scumble/starter"]\ndtype = "bfloat16"\n')
        self.out, self.log = self.folder / "out", self.folder / "log"
        self.log.touch()
        self.environment = machine.environment(self.log, **driver)

    def __enter__(self):
        with open(self.out, "w") as out:
            self.process = subprocess.Popen([BINARY, "serve", "--config", "scumble.toml", "--data-dir", "data", "--listen",
                                             "127.0.0.1:0"], cwd=self.folder, env=self.environment, stdout=out, stderr=out)
        until = time.monotonic() + 60
        while not (found := re.search(r"listens on (http://\S+)", self.out.read_text())):
            assert self.process.poll() is None and time.monotonic() < until, self.out.read_text()
            time.sleep(0.05)
        self.address = found.group(1)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(60) == 0
        self.log = Log(self.log)

    def draw(self, **fields):
        body = json.dumps({"prompt": PROMPT, "seed": 1, "num_inference_steps": 1, **fields}).encode()
        request = urllib.request.Request(f"{self.address}/scumble/starter", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


def test_a_server_survives_a_job_that_does_not_fit(machine):
    small = {"width": 64, "height": 64}
    with Server(machine, memory_mib=22) as server:
        assert server.draw()[0] == 503
        status, answer = server.draw(image_size=small)
        assert status == 200 and answer["images"][0]["width"] == 64, answer
        assert server.draw()[0] == 503
        assert server.draw(image_size=small)[0] == 200
    said = server.out.read_text()
    assert "the memory of the device did not suffice" in said and "our kernels are wrong" not in said and "panicked" not in said
    assert server.log.left[-1] == 0 and server.log.refusals == []


def test_a_server_tells_that_a_kernel_is_wrong_and_draws(machine):
    with Server(machine, wrong="finish_bf16") as server:
        status, answer = server.draw(image_size={"width": 64, "height": 64})
    assert status == 200, answer
    lines = [line for line in server.out.read_text().splitlines() if "our kernels are wrong on this device" in line]
    assert len(lines) == 1 and "cuda:0" in lines[0]


# ------------------------------------------------------------------------------------------------------------- families
# The variant, its endpoint, how its attention is widened, and the attention that is launched for it.
FAMILIES = [
    ("flux-schnell", "fal-ai/flux/schnell", None, None),
    ("flux-schnell", "fal-ai/flux/schnell", checkpoints.with_one_head, {"attention_64", "attention_64_bias"}),
    ("flux-schnell", "fal-ai/flux/schnell", checkpoints.with_a_wide_head, {"attention_128", "attention_64_bias"}),
    ("sd35", "fal-ai/stable-diffusion-v35-large", checkpoints.with_one_head, {"attention_64", "attention_64_bias"}),
    ("auraflow", "fal-ai/aura-flow", checkpoints.with_one_head, {"attention_64"}),
    ("f-lite", "fal-ai/f-lite/standard", None, None),
    ("hidream-fast", "fal-ai/hidream-i1-fast", None, None),
    ("omnigen2", "fal-ai/omnigen-v2", None, None),
]


@pytest.mark.parametrize(("variant", "endpoint", "widened", "attention"), FAMILIES,
                         ids=lambda x: x if isinstance(x, str) and "/" not in x else getattr(x, "__name__", " "))
def test_families_draw_on_the_card_what_the_cpu_draws(machine, tmp_path, variant, endpoint, widened, attention):
    if not WRITE_TINY:
        pytest.skip("NO FAMILY IS DRAWN: WRITE_TINY_BIN names no binary of the example write_tiny")
    weights = tmp_path / "tiny"
    subprocess.run([WRITE_TINY, variant, weights], check=True)
    if widened:
        widened(weights, tmp_path / "wide")
        weights = tmp_path / "wide"
    steps = 20 if variant in ("omnigen2", "auraflow") else 2
    size = {"width": 32, "height": 32} if steps == 20 else {"width": 96, "height": 64}
    words = ["--weights", weights, "-i", f"num_inference_steps={steps}", "-i", f"image_size={json.dumps(size)}"]
    if variant == "omnigen2":
        words += ["-i", "text_guidance_scale=1"]
    where = [("cpu", "float32"), ("cpu", "bfloat16"), ("cuda:0", "float32"), ("cuda:0", "bfloat16")]
    right, rough, exact, short = (machine.run(*words, device=device, dtype=dtype, prompt=(endpoint, PROMPT)).right()
                                  for device, dtype in where)
    share, name = furthest(right.trace, exact.trace)
    assert share < 1e-4 and pictures.apart(right.picture, exact.picture)[0] <= 1, (share, name)
    # small networks of any numbers make much of little, here as on the CPU
    (share, name), (known, _) = furthest(right.trace, short.trace), furthest(right.trace, rough.trace)
    (levels, mean), (usual, _) = (pictures.apart(right.picture, it.picture) for it in (short, rough))
    print(f"{variant}: in bfloat16 {name} is {share:.4f} of its largest number away (on the CPU {known:.4f}), and the picture "
          f"{levels} levels (on the CPU {usual}), {mean:.3f} on the average")
    assert share < max(0.05, 3 * known) and levels <= max(10, 3 * usual), name
    # trying launches each once or twice
    often = {kernel for kernel in ATTENTION if short.log.launches[kernel] > 2}
    assert attention is None or often == attention, short.log.launches
