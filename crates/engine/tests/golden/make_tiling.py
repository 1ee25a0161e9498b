#!/usr/bin/env python3
"""Record what diffusers' tiled VAE decoding makes of noise: `make_tiling.py CHECKPOINT tiling.safetensors`.

CHECKPOINT is a folder written by `cargo run -p scumble-testkit --example write_tiny flux-dev CHECKPOINT`.
Its VAE has a sample size of 64, so tiles are 8 latents wide and start 6 apart; 13 x 18 latents make whole tiles, cut
ones and a sliver of one row. Made with torch 2.15, diffusers 0.42, float32, CPU.
"""
import sys

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file


def main(folder, out):
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae").eval()
    z = torch.randn(1, 16, 13, 18, generator=torch.Generator("cpu").manual_seed(7))
    vae.enable_tiling()
    with torch.no_grad():
        save_file({"tiled": vae.decode(z).sample.contiguous()}, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
