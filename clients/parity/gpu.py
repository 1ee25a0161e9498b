#!/usr/bin/env python3
"""What a card draws, and how fast: pictures held against the processor's, and Scumble beside diffusers in the same run, in turn.

    python clients/parity/gpu.py --device cuda:0 --folder DIR [--json FILE] [--minutes 6] [--runs 3] [--only pictures,speed]
                                 [--page docs/PERFORMANCE.md] [--tiny]

- pictures: the FLUX of 283 million parameters with the same seed on the device and the processor, in float32 and bfloat16;
- speed: a FLUX of true size, 11.9 billion parameters, and the autoencoder of FLUX.1, 1024x1024 in 4 and 28 steps in bfloat16: Scumble,
  diffusers, and diffusers with torch.compile. The weights are random and the encoders of text are small (gpu_weights.py).

It says first what it lacks and goes on with what it can: without torch or diffusers Scumble alone is measured, and where disk or card
are too small for the true size, the mid-size. The checkpoints, 25 GB, are made in --folder once and stay there. --minutes
are those of measuring: nothing is begun when they are used up, and what was left out is said. --tiny takes networks of a few thousand
parameters on any device, `cpu` too: that everything runs, not how fast.

A table goes between the marks `card` of --page, where it has them; all numbers go to --json. SCUMBLE_BIN names another binary. Ends with
3 where nothing could be measured, with 1 where Scumble went wrong or a picture is too far away.
"""

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

import bench_page
import gpu_card
import gpu_pictures
import gpu_weights
from bench_parts import warm
from bench_programs import ROOT, SCUMBLE, Case
from gpu_speed import Speed

# words that the encoders know
PROMPT = "two small yellow stars on a purple background"
PARTS = ("pictures", "speed")
NEEDED = ("torch", "diffusers", "transformers", "safetensors")
# what is computed with beside the weights, at 1024x1024
ROOM = 8_000_000_000
INSTEAD = "the mid-size is measured"
# a program that takes longer hangs
PATIENCE = 600


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--device", default="cuda:0")
    ap.add_argument("--folder", type=Path, required=True, help="where checkpoints are made and kept")
    ap.add_argument("--json", type=Path, default=ROOT / "target" / "gpu-check.json")
    ap.add_argument("--minutes", type=float, default=6)
    ap.add_argument("--runs", type=int, default=3, help="how often each program is started")
    ap.add_argument("--only", default=",".join(PARTS), help="parts, with a comma between them")
    ap.add_argument("--page", type=Path, default=ROOT / "docs" / "PERFORMANCE.md")
    ap.add_argument("--tiny", action="store_true")
    args = ap.parse_args()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(PARTS):
        ap.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if args.runs < 1 or args.minutes <= 0:
        ap.error("--runs is at least 1, and --minutes more than 0")
    if not (args.device == "cpu" or args.device.partition(":")[0] == "cuda" and (args.device.partition(":")[2] or "0").isdigit()):
        ap.error(f"--device is cpu or cuda:NUMBER, not {args.device}")
    if args.device == "cpu" and not args.tiny:
        ap.error("a processor takes hours for the true size: --tiny, or bench.py, which measures processors")
    return args


# ------------------------------------------------------------------------------------------------ what is lacking
class Means:
    """What there is to measure with, and what is lacking."""

    def __init__(self, args):
        self.lacking = []
        self.card = self.gigabytes = None
        if args.device != "cpu":
            self.card, missing = gpu_card.asked(args.device)
            self.lacks(missing)
        self.scumble = self.has_scumble(args)
        self.torch = self.has_torch(args)
        self.sizes = self.fitting(args)

    def lacks(self, what):
        if what:
            self.lacking.append(what)
            print(f"LACKS: {what}", flush=True)

    def has_scumble(self, args):
        """Its version, where it draws on the device."""
        if not SCUMBLE.is_file():
            self.lacks(f"{SCUMBLE}: `cargo build --release -p scumble-cli --features cuda` makes it, SCUMBLE_BIN names another")
            return None
        said = subprocess.run([SCUMBLE, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
        with tempfile.TemporaryDirectory() as folder:
            command = [SCUMBLE, "run", "two stars", "--device", args.device, "-i", "num_inference_steps=1", "-o", Path(folder, "x.png")]
            try:
                done = subprocess.run(command, capture_output=True, text=True, env=gpu_card.environment(), timeout=PATIENCE)
                why = done.stderr.strip().splitlines()[-1:] if done.returncode else None
            except subprocess.TimeoutExpired:
                why = [f"nothing was drawn in {PATIENCE} s"]
        if why is not None:
            self.lacks(f"a device {args.device} that Scumble can draw on: {' '.join(why)}")
            return None
        return said

    def has_torch(self, args):
        """Versions of torch and diffusers, where they can compute on the device."""
        missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
        if missing:
            self.lacks(f"{', '.join(missing)} (clients/parity/requirements.txt): diffusers is not measured")
            return None
        if args.device != "cpu":
            program = "import sys, torch; torch.zeros(1, device=sys.argv[1]); print(torch.version.cuda, torch.backends.cudnn.version())"
            done = subprocess.run([sys.executable, "-c", program, args.device], capture_output=True, text=True, env=gpu_card.environment())
            if done.returncode:
                why = " ".join(done.stderr.strip().splitlines()[-1:])
                self.lacks(f"torch that computes on {args.device}: {why}; diffusers is not measured")
                return None
            cuda, cudnn = done.stdout.split()
            return f"diffusers {version('diffusers')}, torch {version('torch')} with CUDA {cuda} and cuDNN {cudnn}"
        return f"diffusers {version('diffusers')}, torch {version('torch')}"

    def fitting(self, args):
        """Name and sizes of the largest FLUX that disk and card have room for."""
        if args.tiny:
            return "tiny", gpu_weights.TINY
        if "speed" in args.only:
            bytes_, free = gpu_weights.size(gpu_weights.TRUE), shutil.disk_usage(args.folder).free
            fits = (args.folder / "true-size").exists() or free > bytes_ + 2e9
            if not fits:
                self.lacks(f"{(bytes_ + 2e9) / 1e9:.0f} GB of disk in {args.folder}, where {free / 1e9:.0f} are free: {INSTEAD}")
            room = (self.card or {}).get("memory.free")
            if room and room < bytes_ + ROOM:
                fits = False
                self.lacks(f"{(bytes_ + ROOM) / 1e9:.0f} GB of the card's memory, where {room / 1e9:.0f} are free: {INSTEAD}")
            if fits:
                return "true-size", gpu_weights.TRUE
        return "mid-size", gpu_weights.MID_SIZE

    def available(self):
        """Bytes of memory that the machine can give."""
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])


def checkpoint(args, name, sizes):
    began, new = time.monotonic(), not (args.folder / name).exists()
    folder = gpu_weights.kept(args.folder, name, sizes)
    if new:
        print(f"{folder}: {gpu_weights.size(sizes) / 1e9:.1f} GB of random weights in {time.monotonic() - began:.0f} s", flush=True)
    return folder


# --------------------------------------------------------------------------------------------------------- parts
def pictures(args, means, clock):
    """Numbers, and whether they are right."""
    name, sizes = ("tiny", gpu_weights.TINY) if args.tiny else ("mid-size", gpu_weights.MID_SIZE)
    size, steps = (64, 2) if args.tiny else (256, 4)
    case = Case(endpoint="fal-ai/flux/dev", prompt=PROMPT, size=size, steps=steps, weights=checkpoint(args, name, sizes))
    clock.restart()
    print(f"pictures: the {name} FLUX at {size}x{size} in {steps} steps, {args.device} beside cpu", flush=True)
    found = gpu_pictures.compared(case, args.device, args.folder, PATIENCE)
    return found, all(entry["right"] for entry in found.values())


def speed(args, means, clock):
    """Numbers, and whether Scumble could be measured."""
    name, sizes = means.sizes
    folder = checkpoint(args, name, sizes)
    files, bytes_ = sorted(folder.rglob("*.safetensors")), gpu_weights.size(sizes)
    cached = means.available() > bytes_ + ROOM
    if cached:
        warm(files)
    else:
        means.lacks(f"{(bytes_ + ROOM) / 1e9:.0f} GB of memory to keep the files in: they are loaded from the disk, at its pace")
    clock.restart()
    case = Case(endpoint="fal-ai/flux/dev", prompt=PROMPT, size=64 if args.tiny else 1024, tokens=32 if args.tiny else 512, weights=folder)
    steps = (2, 4) if args.tiny else (4, 28)
    # where processors have no instructions for bfloat16, torch takes minutes
    dtype = "float32" if args.tiny else "bfloat16"
    part = Speed(case, args.device, dtype, steps, args.runs, clock, means.card is not None, PATIENCE, args.folder)
    print(f"speed: the {name} FLUX at {case.size}x{case.size}, {part.few} and {part.many} steps", flush=True)
    # torch's compiler for processors takes longer than all the rest of --tiny; that the graph is whole is seen without it
    backend = None if not means.torch else "inductor" if args.device != "cpu" else "eager"
    found = part.measure(means.scumble is not None, backend)
    table, stamp = part.table(), told(args, means, name, part, cached)
    print(f"\n{table}\n\n{stamp}\n", flush=True)
    if any(found["runs"].values()):
        on_page(args.page, f"{table}\n\n{stamp}")
    well = bool(found["runs"]["scumble"]) and "scumble" not in found["failed"]
    return {**found, "checkpoint": name, "bytes": bytes_, "cached": cached}, well


def told(args, means, name, part, cached):
    """Under the table: when, where and with what."""
    card = means.card
    device = f"{card['name']} (compute capability {card['compute_cap']}, driver {card['driver_version']})" if card else args.device
    processor, _ = bench_page.cpu()
    files = "files in the page cache" if cached else "files from the disk"
    compiled = "; compiled is torch.compile with the whole transformer in one graph" if part.found["runs"]["compiled"] else ""
    cut = f"; left out when the time was over: {', '.join(part.left_out)}" if part.left_out else ""
    versions = "; ".join(filter(None, (means.scumble, means.torch)))
    return (f"*{datetime.date.today()}, {device}, {processor} with {os.cpu_count()} cores; the {name} FLUX with random weights, {part.dtype}, "
            f"{part.case.size}×{part.case.size}, {part.case.tokens} text tokens, small text encoders, {files}; medians (least to most), "
            f"each program started up to {part.runs} times in turn{compiled}{cut}; {versions}.*")


def on_page(page, body):
    if page.is_file() and "<!-- measured: card -->" in page.read_text(encoding="utf-8"):
        bench_page.put(page, "card", body)
        print(f"the table is in {page}", flush=True)
    else:
        print(f"{page} has no place for a card's table (<!-- measured: card --> and <!-- end: card -->)", flush=True)


class Clock:
    """The minutes of measuring; making checkpoints is not counted."""

    def __init__(self, minutes):
        self.left_before, self.began = 60 * minutes, None

    def restart(self):
        self.pause()
        self.began = time.monotonic()

    def pause(self):
        if self.began is not None:
            self.left_before = self.left()
            self.began = None

    def left(self):
        return self.left_before - (time.monotonic() - self.began if self.began is not None else 0)


def main():
    args = arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    means, clock = Means(args), Clock(args.minutes)
    found = {"date": str(datetime.date.today()), "device": args.device, "card": means.card, "cpu": bench_page.cpu()[0],
             "versions": {"scumble": means.scumble, "theirs": means.torch}, "lacks": means.lacking, "parts": {}}
    right = True
    for part in args.only:
        if not means.scumble and (part == "pictures" or not means.torch):
            continue
        if clock.left() <= 0:
            print(f"LEFT OUT: {part}: the {args.minutes:g} minutes are used up", flush=True)
            found.setdefault("left_out", []).append(part)
            continue
        found["parts"][part], well = {"pictures": pictures, "speed": speed}[part](args, means, clock)
        clock.pause()
        right &= well
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    measured = [part for part in ("pictures", "speed") if worth(found["parts"].get(part))]
    if not measured:
        print("nothing could be measured", file=sys.stderr)
        return 1 if found["parts"] and means.scumble else 3
    print(f"figures are in {args.json}", flush=True)
    return 0 if right else 1


def worth(part):
    """Whether there are numbers in it."""
    return part and any(part["runs"].values() if "runs" in part else ["mean" in entry for entry in part.values()])


if __name__ == "__main__":
    sys.exit(main())
