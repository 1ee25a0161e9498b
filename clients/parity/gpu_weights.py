"""A FLUX with random weights in bfloat16, written from the names and shapes of its tensors: nothing but Python is needed for it, and
no more than a block of random numbers is in memory.

The numbers of that block come again and again, each tensor beginning at another place in it; the encoders of text, their tokenizers and
so the width of embeddings are those of the model in the binary. Neither changes what a step takes.
"""

import array
import json
import math
import random
import shutil
from pathlib import Path

from bench_programs import ROOT

ENCODERS = ROOT / "starter" / "weights"
# as FLUX.1 [dev] has them: 11.9 billion parameters, and its autoencoder; how many random numbers there are is a prime, so that rows of
# a matrix do not begin at the same one
TRUE = {"double": 19, "single": 38, "heads": 24, "width": 128, "axes": [16, 56, 56], "channels": [128, 256, 512, 512],
        "layers": 2, "groups": 32, "numbers": 2_000_003}
# 283 million parameters, as in docs/PERFORMANCE.md, and the same autoencoder
MID_SIZE = {**TRUE, "double": 4, "single": 8, "heads": 8}
TINY = {"double": 1, "single": 2, "heads": 2, "width": 64, "axes": [16, 24, 24], "channels": [16, 32, 32, 32], "layers": 1, "groups": 8,
        "numbers": 20_011}
SHARD = 5_000_000_000


def embedding(config, name):
    return json.loads((ENCODERS / config / "config.json").read_text(encoding="utf-8"))[name]


def layer(name, *shape):
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def transformer(sizes, joint, pooled):
    """Names and shapes of FLUX's transformer as diffusers has them."""
    inner = sizes["heads"] * sizes["width"]
    for name, width in (("timestep", 256), ("guidance", 256), ("text", pooled)):
        yield from layer(f"time_text_embed.{name}_embedder.linear_1", inner, width)
        yield from layer(f"time_text_embed.{name}_embedder.linear_2", inner, inner)
    yield from layer("context_embedder", inner, joint)
    yield from layer("x_embedder", inner, 64)
    for index in range(sizes["double"]):
        block = f"transformer_blocks.{index}"
        for norm in ("norm1", "norm1_context"):
            yield from layer(f"{block}.{norm}.linear", 6 * inner, inner)
        for norm in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            yield f"{block}.attn.{norm}.weight", (sizes["width"],)
        for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
            yield from layer(f"{block}.attn.{name}", inner, inner)
        for name in ("ff", "ff_context"):
            yield from layer(f"{block}.{name}.net.0.proj", 4 * inner, inner)
            yield from layer(f"{block}.{name}.net.2", inner, 4 * inner)
    for index in range(sizes["single"]):
        block = f"single_transformer_blocks.{index}"
        yield from layer(f"{block}.norm.linear", 3 * inner, inner)
        yield from layer(f"{block}.proj_mlp", 4 * inner, inner)
        yield from layer(f"{block}.proj_out", inner, 5 * inner)
        for norm in ("norm_q", "norm_k"):
            yield f"{block}.attn.{norm}.weight", (sizes["width"],)
        for name in ("to_q", "to_k", "to_v"):
            yield from layer(f"{block}.attn.{name}", inner, inner)
    yield from layer("norm_out.linear", 2 * inner, inner)
    yield from layer("proj_out", 64, inner)


def residual(name, taken, given):
    yield from layer(f"{name}.norm1", taken)
    yield from layer(f"{name}.conv1", given, taken, 3, 3)
    yield from layer(f"{name}.norm2", given)
    yield from layer(f"{name}.conv2", given, given, 3, 3)
    if taken != given:
        yield from layer(f"{name}.conv_shortcut", given, taken, 1, 1)


def half(name, sizes, resize):
    """What both halves of the autoencoder have, `sizes` from the first level to the last."""
    blocks, sampler, layers = resize
    taken = sizes[0]
    for level, given in enumerate(sizes):
        for index in range(layers):
            yield from residual(f"{name}.{blocks}.{level}.resnets.{index}", taken, given)
            taken = given
        if level + 1 < len(sizes):
            yield from layer(f"{name}.{blocks}.{level}.{sampler}.0.conv", given, given, 3, 3)


def middle(name, width):
    yield from layer(f"{name}.mid_block.attentions.0.group_norm", width)
    for part in ("to_q", "to_k", "to_v", "to_out.0"):
        yield from layer(f"{name}.mid_block.attentions.0.{part}", width, width)
    for index in (0, 1):
        yield from residual(f"{name}.mid_block.resnets.{index}", width, width)


def autoencoder(sizes):
    """Names and shapes of FLUX's autoencoder as diffusers has them."""
    channels, layers = sizes["channels"], sizes["layers"]
    for name, levels, resize, taken, given in (
            ("encoder", channels, ("down_blocks", "downsamplers", layers), 3, 32),
            ("decoder", channels[::-1], ("up_blocks", "upsamplers", layers + 1), 16, 3)):
        yield from layer(f"{name}.conv_in", levels[0], taken, 3, 3)
        yield from half(name, levels, resize)
        yield from middle(name, channels[-1])
        yield from layer(f"{name}.conv_norm_out", levels[-1])
        yield from layer(f"{name}.conv_out", given, levels[-1], 3, 3)


# ------------------------------------------------------------------------------------------------------ numbers
def bfloat16(numbers):
    """Their upper halves."""
    raw, out = array.array("f", numbers).tobytes(), bytearray(2 * len(numbers))
    out[0::2], out[1::2] = raw[2::4], raw[3::4]
    return bytes(out)


class Numbers:
    """Random numbers, the same in each run, in the widths that tensors ask for."""

    def __init__(self, count):
        chance = random.Random(1)
        self.normal = array.array("f", (chance.gauss(0, 1) for _ in range(count)))
        self.made, self.at = {}, 0

    def block(self, middle, width):
        if (middle, width) not in self.made:
            self.made[middle, width] = bfloat16([middle + width * number for number in self.normal])
        return self.made[middle, width]

    def tensor(self, name, shape):
        """The bytes of a tensor, in pieces."""
        norm = len(shape) == 1 and name.endswith("weight")
        scale = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.1 if norm else 0.05
        block = memoryview(self.block(1.0 if norm else 0.0, scale))
        left = 2 * math.prod(shape)
        while left:
            piece = block[self.at:self.at + left]
            self.at = (self.at + len(piece)) % len(block)
            left -= len(piece)
            yield piece


# -------------------------------------------------------------------------------------------------------- files
def shards(shapes, most):
    """Tensors in files of so many bytes at most."""
    files, size = [{}], 0
    for name, shape in shapes:
        count = 2 * math.prod(shape)
        if files[-1] and size + count > most:
            files.append({})
            size = 0
        files[-1][name] = shape
        size += count
    return files


def write_file(path, shapes, numbers):
    """One safetensors file."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = at + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb", buffering=1 << 22) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.writelines(numbers.tensor(name, shape))


def dump(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_part(folder, config, shapes, numbers, most=SHARD):
    """The folder of one network."""
    dump(folder / "config.json", config)
    files = shards(shapes, most)
    stem = "diffusion_pytorch_model"
    names = [f"{stem}.safetensors" if len(files) == 1 else f"{stem}-{index + 1:05}-of-{len(files):05}.safetensors"
             for index in range(len(files))]
    for name, tensors in zip(names, files):
        write_file(folder / name, tensors, numbers)
    if len(files) > 1:
        size = sum(2 * math.prod(shape) for tensors in files for shape in tensors.values())
        dump(folder / f"{stem}.safetensors.index.json",
             {"metadata": {"total_size": size}, "weight_map": {key: name for name, tensors in zip(names, files) for key in tensors}})


def transformer_config(sizes, joint, pooled):
    return {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0", "attention_head_dim": sizes["width"],
            "axes_dims_rope": sizes["axes"], "guidance_embeds": True, "in_channels": 64, "joint_attention_dim": joint,
            "num_attention_heads": sizes["heads"], "num_layers": sizes["double"], "num_single_layers": sizes["single"],
            "out_channels": None, "patch_size": 1, "pooled_projection_dim": pooled}


def autoencoder_config(sizes):
    levels = len(sizes["channels"])
    return {"_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0", "act_fn": "silu", "block_out_channels": sizes["channels"],
            "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
            "force_upcast": True, "in_channels": 3, "out_channels": 3, "latent_channels": 16, "latents_mean": None, "latents_std": None,
            "layers_per_block": sizes["layers"], "mid_block_add_attention": True, "norm_num_groups": sizes["groups"], "sample_size": 1024,
            "scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False}


SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0", "base_image_seq_len": 256,
             "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0,
             "use_dynamic_shifting": True}


def flux(folder, sizes, most=SHARD):
    """A whole checkpoint in diffusers' layout."""
    folder, numbers = Path(folder), Numbers(sizes["numbers"])
    joint, pooled = embedding("text_encoder_2", "d_model"), embedding("text_encoder", "hidden_size")
    for name in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"):
        shutil.copytree(ENCODERS / name, folder / name)
    longest = folder / "tokenizer_2" / "tokenizer_config.json"
    dump(longest, {**json.loads(longest.read_text(encoding="utf-8")), "model_max_length": 512})
    dump(folder / "model_index.json", json.loads((ENCODERS / "model_index.json").read_text(encoding="utf-8")))
    dump(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_part(folder / "transformer", transformer_config(sizes, joint, pooled), transformer(sizes, joint, pooled), numbers, most)
    write_part(folder / "vae", autoencoder_config(sizes), autoencoder(sizes), numbers, most)
    return folder


def size(sizes):
    """Bytes of its networks."""
    joint, pooled = embedding("text_encoder_2", "d_model"), embedding("text_encoder", "hidden_size")
    return sum(2 * math.prod(shape) for shapes in (transformer(sizes, joint, pooled), autoencoder(sizes)) for _, shape in shapes)


def kept(folder, name, sizes):
    """A checkpoint in a folder, made once; one that is only half made has another name."""
    whole = Path(folder) / name
    if not whole.exists():
        part = whole.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        flux(part, sizes)
        part.rename(whole)
    return whole
