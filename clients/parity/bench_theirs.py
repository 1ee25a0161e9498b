#!/usr/bin/env python3
"""One picture by diffusers in a process of its own, and what it took: seconds by stage and step, memory. JSON on stdout.

    python bench_theirs.py FOLDER --prompt TEXT [--size 512] [--steps 4] [--images 1] [--tokens 256] [--guidance 1.0]
                           [--dtype float32] [--threads 2] [-o FILE.png]

The stages are those of `scumble bench engine`; `whole` begins before torch is imported.
"""

import time

BEGAN = time.perf_counter()

import argparse
import json
import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}


def memory():
    """Bytes that this process holds: resident, files among them, the most so far."""
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    kib = lambda name: 1024 * int(lines[name].split()[0])
    return {"resident": kib("VmRSS"), "files": kib("RssFile"), "peak": kib("VmHWM")}


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder")
    ap.add_argument("--prompt", required=True)
    ap.add_argument("--size", type=int, default=512)
    ap.add_argument("--steps", type=int, default=4)
    ap.add_argument("--images", type=int, default=1)
    ap.add_argument("--tokens", type=int, default=256)
    ap.add_argument("--guidance", type=float, default=1.0)
    ap.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("-o", "--output")
    return ap.parse_args()


class Stages:
    """Marks where one stage ends and the next begins."""

    def __init__(self, pipe):
        self.encoded = self.denoised = None
        self.steps = []
        self.encode, self.decode = pipe.encode_prompt, pipe.vae.decode
        pipe.encode_prompt, pipe.vae.decode = self.encode_prompt, self.decode_latents

    def encode_prompt(self, *args, **kwargs):
        out = self.encode(*args, **kwargs)
        self.encoded = time.perf_counter()
        return out

    def decode_latents(self, *args, **kwargs):
        self.denoised = time.perf_counter()
        return self.decode(*args, **kwargs)

    def step(self, pipe, index, timestep, kwargs):
        self.steps.append(time.perf_counter())
        return kwargs


def main():
    args = arguments()
    import torch
    from diffusers import FluxPipeline

    torch.set_num_threads(args.threads)
    before, imported = memory(), time.perf_counter()
    pipe = FluxPipeline.from_pretrained(args.folder, dtype=getattr(torch, args.dtype))
    pipe.set_progress_bar_config(disable=True)
    loaded, loaded_memory = time.perf_counter(), memory()
    stages = Stages(pipe)
    images = pipe(args.prompt, height=args.size, width=args.size, num_inference_steps=args.steps, guidance_scale=1.0,
                  true_cfg_scale=args.guidance, negative_prompt="" if args.guidance > 1 else None,
                  max_sequence_length=args.tokens, num_images_per_prompt=args.images,
                  callback_on_step_end=stages.step, generator=torch.Generator("cpu").manual_seed(1)).images
    end, after = time.perf_counter(), memory()
    if args.output:
        images[0].save(args.output)
    ends = [stages.encoded, *stages.steps]
    print(json.dumps({
        "import": imported - BEGAN, "load": loaded - imported, "text_encode": stages.encoded - loaded,
        "denoise": stages.denoised - stages.encoded, "decode": end - stages.denoised, "picture": end - loaded,
        "step": [b - a for a, b in zip(ends, ends[1:])], "whole": time.perf_counter() - BEGAN,
        "memory": {"before": before, "loaded": loaded_memory, "after": after, "peak": memory()["peak"]}}))


if __name__ == "__main__":
    main()
