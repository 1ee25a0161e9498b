#!/usr/bin/env python3
"""How fast Scumble draws, beside diffusers: both in the same run, in turn, on the same weights and threads.

    python clients/parity/bench.py [--only starter,flux,slice,slices,texts,formats,load,growth,threads] [--runs 3]
                                   [--threads 2] [--isa native|avx2|portable] [--page docs/PERFORMANCE.md]
                                   [--json FILE] [--folder DIR] [--tiny]

- starter: the model in the binary, its stages and the whole command, imports included;
- flux: a FLUX of 283 million random parameters with the autoencoder of FLUX.1, 512x512, in float32 and bfloat16;
- slice: three blocks as wide as FLUX.1's over the tokens of 1024x1024, in several formats; slices: blocks as wide as those of
  Stable Diffusion 3.5 Large and of HiDream-I1;
- texts: text encoders as wide as T5-XXL, CLIP-bigG and Llama-3.1-8B, with few layers;
- formats: the mid-size transformer in bfloat16, fp8 and GGUF: distance of the picture, seconds a step, memory;
- load: a checkpoint of 2 GB, its files in the page cache and not;
- growth: pixels, steps, pictures; threads: one and two.

Every run is a process of its own. Tables go between the marks of --page, which keeps the text around them; all numbers go to
--json. --isa keeps both programs to an instruction set. --tiny takes networks of a few thousand parameters: that everything runs,
not how fast. Without torch and diffusers only the starter's own times are measured. Needs `cargo build --release`; SCUMBLE_BIN names another binary.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

import bench_page
from bench_programs import ISA, ROOT, SCUMBLE, Machine

PARTS = ("starter", "flux", "slice", "slices", "texts", "formats", "load", "growth", "threads")
NEEDED = ("torch", "diffusers", "transformers", "safetensors", "numpy", "PIL")


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--isa", choices=list(ISA), default="native")
    ap.add_argument("--page", type=Path, default=ROOT / "docs" / "PERFORMANCE.md")
    ap.add_argument("--json", type=Path, default=ROOT / "target" / "performance.json")
    ap.add_argument("--folder", type=Path, help="where checkpoints are made and kept; they take up to 12 GB")
    ap.add_argument("--tiny", action="store_true")
    args = ap.parse_args()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(PARTS):
        ap.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if args.runs < 1 or args.threads < 1:
        ap.error("--runs and --threads are at least 1")
    if args.folder and not args.folder.is_dir():
        ap.error(f"there is no folder {args.folder}")
    if not args.page.is_file():
        ap.error(f"there is no {args.page}; its marks say where tables go")
    if not SCUMBLE.is_file():
        ap.error(f"{SCUMBLE} is missing: `cargo build --release` makes it, SCUMBLE_BIN names another")
    return args


def main():
    args = arguments()
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    if missing:
        print(f"SKIPPED: {', '.join(missing)} not installed; only the starter's own times are measured", flush=True)
        args.only = [part for part in args.only if part == "starter"]
    from bench_parts import Bench

    for part in args.only:
        bench_page.around(args.page, bench_page.mark(args.page, part, args.isa))
    own = subprocess.run([SCUMBLE, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
    theirs = "" if missing else f", diffusers {version('diffusers')}, torch {version('torch')}"
    name, flags = bench_page.cpu()
    machine = Machine(threads=args.threads, isa=args.isa, flags=flags)
    found = {"machine": {"cpu": name, "flags": sorted(set(bench_page.INSTRUCTIONS) & flags), "cores": os.cpu_count()},
             "threads": args.threads, "isa": args.isa, "runs": args.runs, "versions": own + theirs, "parts": {}}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(machine, args.runs, args.tiny, args.folder or folder, not missing)
        for part in args.only:
            print(f"{part} ...", flush=True)
            load, began = os.getloadavg()[0], time.monotonic()
            found["parts"][part], text = getattr(bench, part)()
            stamp = bench_page.stamp(machine, bench.taken, own + theirs, (load, os.getloadavg()[0]))
            print(f"\n{text}\n\n{stamp}\n{part} took {time.monotonic() - began:.0f} s\n", flush=True)
            bench_page.put(args.page, bench_page.mark(args.page, part, args.isa), f"{text}\n\n{stamp}")
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
