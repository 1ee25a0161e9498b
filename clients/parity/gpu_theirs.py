#!/usr/bin/env python3
"""Pictures by diffusers on a device, in a process of its own, and what they took. JSON on stdout.

    python gpu_theirs.py FOLDER --prompt TEXT --device cuda:0 [--draw 4,28] [--size 1024] [--tokens 512] [--guidance 4.0]
                          [--dtype bfloat16] [--compile inductor] [-o FILE.png]

A first picture, of as many steps as the first of --draw, is told apart: libraries are loaded and, with
--compile, the transformer is compiled in it. The clock is read when the device has done what it was given.
"""

import time

BEGAN = time.perf_counter()

import argparse
import json

from bench_theirs import Stages


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder")
    ap.add_argument("--prompt", required=True)
    ap.add_argument("--device", required=True)
    ap.add_argument("--draw", default="4,28")
    ap.add_argument("--size", type=int, default=1024)
    ap.add_argument("--tokens", type=int, default=512)
    ap.add_argument("--guidance", type=float, default=4.0)
    ap.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    ap.add_argument("--compile", help="the backend of torch.compile; not compiled where it is left out")
    ap.add_argument("-o", "--output", help="keep the last picture")
    return ap.parse_args()


class Waiting(Stages):
    """Stages that end when the device has done its part."""

    def __init__(self, pipe, wait):
        super().__init__(pipe)
        self.wait = wait

    def encode_prompt(self, *args, **kwargs):
        out = self.encode(*args, **kwargs)
        self.wait()
        self.encoded = time.perf_counter()
        return out

    def decode_latents(self, *args, **kwargs):
        self.wait()
        return super().decode_latents(*args, **kwargs)


def main():
    args = arguments()
    import torch
    from diffusers import FluxPipeline

    device = torch.device(args.device)
    card = device.type == "cuda"
    wait = (lambda: torch.cuda.synchronize(device)) if card else (lambda: None)
    if card:
        torch.cuda.set_device(device)
        # the context is not part of loading, as it is not in Scumble's
        torch.zeros(1, device=device)
        wait()
    imported = time.perf_counter()
    pipe = FluxPipeline.from_pretrained(args.folder, dtype=getattr(torch, args.dtype)).to(device)
    wait()
    loaded = time.perf_counter()
    pipe.set_progress_bar_config(disable=True)
    if args.compile:
        pipe.transformer.compile(fullgraph=True, backend=args.compile)
    stages = Waiting(pipe, wait)

    def draw(steps):
        began = time.perf_counter()
        # pixels come back to the processor, so at the end nothing is left to wait for
        images = pipe(args.prompt, height=args.size, width=args.size, num_inference_steps=steps, guidance_scale=args.guidance,
                      max_sequence_length=args.tokens, generator=torch.Generator("cpu").manual_seed(1)).images
        end = time.perf_counter()
        if args.output:
            images[0].save(args.output)
        return {"steps": steps, "picture": end - began, "text_encode": stages.encoded - began,
                "denoise": stages.denoised - stages.encoded, "decode": end - stages.denoised}

    asked = [int(steps) for steps in args.draw.split(",")]
    first = draw(asked[0])
    pictures = [draw(steps) for steps in asked]
    print(json.dumps({"import": imported - BEGAN, "load": loaded - imported, "first": first, "pictures": pictures,
                      "torch_peak": torch.cuda.max_memory_allocated(device) if card else None}))


if __name__ == "__main__":
    main()
