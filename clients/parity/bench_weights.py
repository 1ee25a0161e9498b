"""The checkpoints that bench.py measures with: FLUX of random weights in several sizes, and files of its transformer."""

import math
from pathlib import Path

import torch

import make_reference
import make_weights

# 283 million parameters, with the autoencoder of FLUX.1
MID_SIZE = {"flux": {"num_layers": 4, "num_single_layers": 8, "attention_head_dim": 128, "num_attention_heads": 8,
                     "axes_dims_rope": [16, 56, 56]},
            "vae": {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32}}
# a thousand million, 2 GB in bfloat16
TWO_GIGABYTES = {**MID_SIZE, "flux": {**MID_SIZE["flux"], "num_layers": 15, "num_single_layers": 28}}
# one double and two single blocks as wide as FLUX.1's; what is around them is small
TRUE_WIDTH = {"flux": {"num_layers": 1, "num_single_layers": 2, "attention_head_dim": 128, "num_attention_heads": 24,
                       "axes_dims_rope": [16, 56, 56]}}


def flux(folder, sizes):
    """A FLUX of random weights; `None` for the tiny one that the parity tests use."""
    kept = {section: dict(entries) for section, entries in make_reference.TINY.items()}
    try:
        for section, entries in (sizes or {}).items():
            make_reference.TINY[section].update(entries)
        Path(folder).mkdir(parents=True, exist_ok=True)
        make_reference.write_pipeline(Path(folder), make_reference.build_flux, "flux-schnell")
    finally:
        make_reference.TINY.update(kept)
    return Path(folder)


def large(folder, sizes):
    """A FLUX in bfloat16 that is large and quickly made: the same numbers again and again."""
    fill = make_reference.fill_weights
    numbers = torch.randn(1 << 22, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)

    def quickly(module, tag):
        with torch.no_grad():
            module.to(torch.bfloat16)
            for parameter in module.parameters():
                scale = 1 / math.sqrt(parameter[0].numel()) if parameter.ndim > 1 else 0.05
                flat = parameter.data.view(-1)
                for start in range(0, len(flat), len(numbers)):
                    part = flat[start:start + len(numbers)]
                    part.copy_(numbers[:len(part)] * scale)
        return module.eval()

    make_reference.fill_weights = quickly
    try:
        return flux(folder, sizes)
    finally:
        make_reference.fill_weights = fill


def transformer_file(folder, out, encoding):
    """The transformer of a folder as a file in its publisher's layout."""
    make_weights.write(folder, out, layout="bfl", format=encoding)
    return out
