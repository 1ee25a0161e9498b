#!/usr/bin/env python3
"""Record pictures that diffusers draws with other settings: `make_pictures.py CHECKPOINT pictures.safetensors`.

CHECKPOINT is a folder written by `cargo run -p scumble-testkit --example write_tiny flux-dev CHECKPOINT`.
The call is that of `flux-dev/reference.json`; `two` has two pictures from one batch of noise, `bfloat16` and `float16`
are computed in these types. Made with torch 2.15, diffusers 0.42, CPU.
"""
import sys

import torch
from diffusers import FluxPipeline
from safetensors.torch import save_file

PROMPT = "A cat holding a sign that says hello world, 3 red stars"


def draw(folder, dtype, count):
    pipe = FluxPipeline.from_pretrained(folder, torch_dtype=dtype)
    images = pipe(
        PROMPT, height=64, width=96, num_inference_steps=4, max_sequence_length=48, guidance_scale=3.5,
        num_images_per_prompt=count, generator=torch.Generator("cpu").manual_seed(1234), output_type="np").images
    return torch.from_numpy((images * 255).round().astype("uint8")).contiguous()


def main(folder, out):
    save_file({
        "two": draw(folder, torch.float32, 2),
        "bfloat16": draw(folder, torch.bfloat16, 1),
        "float16": draw(folder, torch.float16, 1),
    }, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
