#!/usr/bin/env python3
"""Seconds per stage, Scumble's beside diffusers', in one run on the same weights.

    python clients/parity/bench.py [--runs 3] [--only starter,flux]

`starter` is the model in the binary; `flux` is a FLUX of 283 million random parameters (4 double and 8 single blocks,
8 heads of 128) with the autoencoder of FLUX.1, 512x512, 256 text tokens, 4 steps, float32. Runs alternate; medians are
printed as a table. Without torch only the starter's own times are printed. Needs `cargo build --release`.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCUMBLE = Path(os.environ.get("SCUMBLE_BIN", ROOT / "target" / "release" / "scumble"))
STAGES = ("load", "text_encode", "denoise", "decode")

STARTER = {"endpoint": "scumble/starter", "prompt": "two small yellow stars on a purple background", "steps": 16,
           "guidance": 2.0, "size": 256, "tokens": 32}
FLUX = {"endpoint": "fal-ai/flux/schnell", "prompt": "a cat holding a red sign", "steps": 4, "guidance": 0.0,
        "size": 512, "tokens": 256}
FLUX_SIZES = {"flux": {"num_layers": 4, "num_single_layers": 8, "attention_head_dim": 128, "num_attention_heads": 8,
                       "axes_dims_rope": [16, 56, 56]},
              "vae": {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32}}


def scumble(case, weights):
    """One run of the binary: seconds by stage."""
    size = json.dumps({"width": case["size"], "height": case["size"]})
    command = [SCUMBLE, "run", case["endpoint"], case["prompt"], "--seed", "1", "--json", "-i", f"image_size={size}",
               "-i", f"num_inference_steps={case['steps']}", "-i", f"max_sequence_length={case['tokens']}"]
    if case["endpoint"] == "scumble/starter":
        command += ["-i", f"guidance_scale={case['guidance']}"]
    else:
        command += ["--weights", weights]
    with tempfile.TemporaryDirectory() as folder:
        command += ["-o", Path(folder) / "image.png"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(done.stdout)["timings"]


def diffusers_run(case, weights):
    """The same in diffusers, float32, this process's threads."""
    import torch
    from diffusers import FluxPipeline

    marks = {"begin": time.perf_counter()}
    pipe = FluxPipeline.from_pretrained(weights, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    marks["loaded"] = time.perf_counter()
    decode, encode = pipe.vae.decode, pipe.encode_prompt

    def timed_encode(*args, **kwargs):
        out = encode(*args, **kwargs)
        marks["encoded"] = time.perf_counter()
        return out

    def timed_decode(*args, **kwargs):
        marks["denoised"] = time.perf_counter()
        return decode(*args, **kwargs)

    pipe.vae.decode, pipe.encode_prompt = timed_decode, timed_encode
    pipe(case["prompt"], height=case["size"], width=case["size"], num_inference_steps=case["steps"],
         guidance_scale=1.0, true_cfg_scale=case["guidance"], negative_prompt="", max_sequence_length=case["tokens"],
         generator=torch.Generator("cpu").manual_seed(1))
    marks["end"] = time.perf_counter()
    order = ("begin", "loaded", "encoded", "denoised", "end")
    return {stage: marks[b] - marks[a] for stage, a, b in zip(STAGES, order, order[1:])}


def mid_size_flux(folder):
    """The random FLUX, by the recipe of the tiny checkpoints with other sizes."""
    import diffusers  # noqa: F401  (fails early where it is missing)
    import make_reference

    for section, sizes in FLUX_SIZES.items():
        make_reference.TINY[section].update(sizes)
    make_reference.write_pipeline(folder, "flux-schnell")
    return folder


def measure(name, case, weights, runs, with_torch):
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(scumble(case, weights))
        if with_torch:
            theirs.append(diffusers_run(case, weights))
    print(f"\n{name}: {case['size']}x{case['size']}, {case['steps']} steps, float32, median of {runs}, seconds\n")
    print("| stage | Scumble | diffusers | ratio |\n|---|---|---|---|")
    totals = [0.0, 0.0]
    for stage in STAGES:
        a = statistics.median(t[stage] for t in ours)
        b = statistics.median(t[stage] for t in theirs) if theirs else None
        totals = [totals[0] + a, totals[1] + (b or 0.0)]
        print(f"| {stage} | {a:.3f} | " + (f"{b:.3f} | {a / b:.2f} |" if b else "not measured | |"))
    print(f"| sum | {totals[0]:.3f} | " + (f"{totals[1]:.3f} | {totals[0] / totals[1]:.2f} |" if theirs else "| |"))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--only", default="starter,flux")
    args = ap.parse_args()
    try:
        import diffusers
        import torch

        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; diffusers {diffusers.__version__}")
        with_torch = True
    except ImportError:
        print("SKIPPED: torch and diffusers are not installed; only the starter's own times follow")
        with_torch = False
    wanted = args.only.split(",")
    if "starter" in wanted:
        measure("scumble/starter", STARTER, ROOT / "starter" / "weights", args.runs, with_torch)
    if "flux" in wanted and with_torch:
        with tempfile.TemporaryDirectory() as folder:
            measure("FLUX, 283 M random parameters", FLUX, mid_size_flux(Path(folder)), args.runs, with_torch)


if __name__ == "__main__":
    main()
