"""The checkpoints that bench.py measures with: random weights in several sizes, and files of FLUX's transformer."""

import json
import math
import shutil
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

import hidream as hidream_i1
import make_reference
import make_weights
import small

# 283 million parameters, with the autoencoder of FLUX.1
MID_SIZE = {"flux": {"num_layers": 4, "num_single_layers": 8, "attention_head_dim": 128, "num_attention_heads": 8,
                     "axes_dims_rope": [16, 56, 56]},
            "vae": {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32}}
# a thousand million, 2 GB in bfloat16
TWO_GIGABYTES = {**MID_SIZE, "flux": {**MID_SIZE["flux"], "num_layers": 15, "num_single_layers": 28}}
# one double and two single blocks as wide as FLUX.1's; what is around them is small
TRUE_WIDTH = {"flux": {"num_layers": 1, "num_single_layers": 2, "attention_head_dim": 128, "num_attention_heads": 24,
                       "axes_dims_rope": [16, 56, 56]}}
# two joint blocks as wide as Stable Diffusion 3.5 Large's
SD35_WIDTH = {"sd35": {"num_layers": 2, "attention_head_dim": 64, "num_attention_heads": 38, "pos_embed_max_size": 64}}
# one double and one single block as wide as HiDream-I1's
HIDREAM_WIDTH = {"sizes": {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128, "num_attention_heads": 20,
                           "axes_dims_rope": [64, 32, 32], "max_resolution": [128, 128], "llama_layers": [0, 2]}}
# encoders of true width and few layers; those beside them have one layer and are narrow
T5_XXL = {"flux_t5": {"d_model": 4096, "num_layers": 2, "num_heads": 64, "d_kv": 64, "d_ff": 10240}, "flux_clip": {"layers": 1}}
CLIP_G = {"sd35_clip_g": {"hidden": 1280, "heads": 20, "layers": 8, "wide": 5120}, "sd35_clip_l": {"layers": 1},
          "sd35_t5": {"d_model": 1312, "num_layers": 1}}
LLAMA = {"sizes": {"caption_channels": [24, 4096], "llama_layers": [0, 1, 1, 1]},
         "texts": {"llama": (4096, 14336, 2, 32, 8), "t5": (24, 8, 48, 1, 3), "clip_l": (16, 32, 1, 2, 248, 16),
                   "clip_g": (24, 48, 1, 3, 218, 24)}}


def flux(folder, sizes, build=make_reference.build_flux, variant="flux-schnell"):
    """A FLUX, or what `build` builds, of random weights; `None` for the tiny one that the parity tests use."""
    kept = {section: dict(entries) for section, entries in make_reference.TINY.items()}
    try:
        for section, entries in (sizes or {}).items():
            make_reference.TINY[section].update(entries)
        Path(folder).mkdir(parents=True, exist_ok=True)
        make_reference.write_pipeline(Path(folder), build, variant)
    finally:
        make_reference.TINY.update(kept)
    return Path(folder)


@contextmanager
def replaced(module, **others):
    """Other functions in a module for a while."""
    kept = {name: getattr(module, name) for name in others}
    try:
        for name, other in others.items():
            setattr(module, name, other)
        yield
    finally:
        for name, own in kept.items():
            setattr(module, name, own)


def quickly(tensors):
    """Fills tensors of bfloat16 with the same numbers again and again."""
    numbers = torch.randn(1 << 22, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    for tensor in tensors:
        scale = 1 / math.sqrt(tensor[0].numel()) if tensor.ndim > 1 else 0.05
        flat = tensor.view(-1)
        for start in range(0, len(flat), len(numbers)):
            part = flat[start:start + len(numbers)]
            part.copy_(numbers[:len(part)] * scale)


def large(folder, sizes, build=make_reference.build_flux, variant="flux-schnell"):
    """The same in bfloat16, large and quickly made."""
    def fill(module, tag):
        module.to(torch.bfloat16)
        quickly(parameter.data for parameter in module.parameters())
        return module.eval()

    with replaced(make_reference, fill_weights=fill):
        return flux(folder, sizes, build, variant)


def sd35(folder, sizes):
    """A Stable Diffusion 3.5 in bfloat16."""
    return large(folder, sizes, make_reference.build_sd35, "sd35")


def sd35_without_t5(folder, sizes):
    """The same whose only encoders are CLIPs; both programs take zeros in T5's place."""
    sd35(folder, sizes)
    index = json.loads((folder / "model_index.json").read_text())
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
        index[part] = [None, None]
    small.write_json(folder / "model_index.json", index)
    return folder


def hidream(folder, sizes):
    """A HiDream-I1 Fast in bfloat16."""
    def fill(tag, shapes):
        tensors = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
        quickly(tensors.values())
        return tensors

    def write(path, tensors):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"format": "pt"})

    with replaced(small, fill=fill, write_weights=write):
        hidream_i1.write(folder, "fast", **(sizes or {}))
    return folder


def transformer_file(folder, out, encoding):
    """The transformer of a folder as a file in its publisher's layout."""
    make_weights.write(folder, out, layout="bfl", format=encoding)
    return out
