"""Tiny checkpoints of F-Lite, and what they compute.

diffusers has no F-Lite. What follows is a computation of its own, written from the description of the model that its authors'
code is: functions over a dictionary of tensors, without anything of Scumble's.
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import small

SIZES = {"in_channels": 16, "patch_size": 2, "hidden_size": 48, "depth": 3, "num_heads": 3, "mlp_ratio": 4.0,
         "cross_attn_input_size": 24, "residual_v": True, "train_bias_and_rms": False, "use_rope": True,
         "gradient_checkpoint": False, "dynamic_softmax_temperature": False, "rope_base": 10000}
T5 = (24, 8, 48, 9, 3)
REGISTERS, TOKENS = 16, 512


def write(root, tag="", sizes=None, t5=T5):
    """The folder of a checkpoint. `sizes` replace entries of SIZES."""
    sizes = SIZES | (sizes or {})
    vocab = small.write_t5_tokenizer(root / "tokenizer")
    small.write_transformers(root / "text_encoder", f"{tag}fl.t5", small.t5_config(vocab, *t5))
    small.write_vae(root / "vae", f"{tag}fl.vae")
    small.write_json(root / "dit_model/config.json", {"_class_name": "DiT", "_diffusers_version": "0.33.1", **sizes})
    small.write_weights(root / "dit_model/diffusion_pytorch_model.safetensors", small.fill(f"{tag}fl.dit", shapes(sizes)))
    small.write_json(root / "model_index.json", {
        "_class_name": "FLitePipeline", "_diffusers_version": "0.33.1", "dit_model": ["f_lite.model", "DiT"],
        "text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5TokenizerFast"],
        "vae": ["diffusers", "AutoencoderKL"]})


def shapes(c):
    width, text, wide = c["hidden_size"], c["cross_attn_input_size"], int(c["hidden_size"] * c["mlp_ratio"])
    token, trained = c["patch_size"] ** 2 * c["in_channels"], c["train_bias_and_rms"]
    s = {"register_tokens": [1, REGISTERS, width], "patch_embed.patch_proj.bias": [width],
         "patch_embed.patch_proj.weight": [width, c["in_channels"], c["patch_size"], c["patch_size"]],
         "time_embed.0.weight": [4 * width, width], "time_embed.0.bias": [4 * width],
         "time_embed.2.weight": [width, 4 * width], "time_embed.2.bias": [width],
         "final_modulation.1.weight": [2 * width, width], "final_modulation.1.bias": [2 * width],
         "final_proj.weight": [token, width], "final_proj.bias": [token]}
    if trained:
        s["final_norm.weight"] = [width]
    for i in range(c["depth"]):
        p = f"blocks.{i}."
        s |= {p + "self_attn.qkv.weight": [3 * width, width], p + "self_attn.proj.weight": [width, width],
              p + "cross_attn.q.weight": [width, width], p + "cross_attn.context_kv.weight": [2 * width, text],
              p + "cross_attn.proj.weight": [width, width], p + "mlp.0.weight": [wide, width], p + "mlp.0.bias": [wide],
              p + "mlp.2.weight": [width, wide], p + "mlp.2.bias": [width],
              p + "adaLN_modulation.1.weight": [9 * width, width], p + "adaLN_modulation.1.bias": [9 * width]}
        if c["residual_v"]:
            s[p + "self_attn.lambda_param"] = [1]
        if trained:
            s |= {p + f"norm{k}.weight": [width] for k in (1, 2, 3)}
            s |= {p + "self_attn.qkv.bias": [3 * width], p + "cross_attn.q.bias": [width],
                  p + "cross_attn.context_kv.bias": [2 * width]}
    return s


# ------------------------------------------------------------------------------------------------- the network
def rms(x, weight=None):
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    return y if weight is None else y * weight


def features(level, width):
    half = width // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angles = level[:, None] * 1000 * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def positions(c, rows, columns):
    """Cosines and sines of every token: half of the angles are the row's, half the column's; registers do not turn."""
    half = c["hidden_size"] // (2 * c["num_heads"])
    rates = torch.tensor([c["rope_base"] ** (-i / half) for i in range(0, half, 2)], dtype=torch.float32)
    row, column = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
    angles = torch.cat([row.reshape(-1, 1) * rates, column.reshape(-1, 1) * rates], -1)
    angles = torch.cat([torch.zeros(REGISTERS, half), angles])
    return angles.cos(), angles.sin()


def turned(x, turn):
    a, b = x.chunk(2, -1)
    return torch.cat([a * turn[0] + b * turn[1], b * turn[0] - a * turn[1]], -1)


def forward(weights, c, x, text, level):
    """`x` is [batch, channels, rows, columns], `text` [batch, tokens, width], `level` [batch]; gives data minus noise."""
    width, heads, patch = c["hidden_size"], c["num_heads"], c["patch_size"]

    def linear(name, z):
        return F.linear(z, weights[name + ".weight"], weights.get(name + ".bias"))

    def norm(name, z):
        return rms(z, weights.get(name + ".weight"))

    def split(z):
        return z.unflatten(-1, (heads, width // heads)).transpose(1, 2)

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    time = linear("time_embed.2", F.silu(linear("time_embed.0", features(level, width))))
    h = F.conv2d(x, weights["patch_embed.patch_proj.weight"], weights["patch_embed.patch_proj.bias"], stride=patch)
    rows, columns = h.shape[-2:]
    h = torch.cat([weights["register_tokens"].expand(len(x), -1, -1), h.flatten(2).transpose(1, 2)], 1)
    turn, first = positions(c, rows, columns), None
    for i in range(c["depth"]):
        b = f"blocks.{i}."
        # shift, scale and gate of both attentions and of the feed-forward
        m = linear(b + "adaLN_modulation.1", F.silu(time))[:, None].chunk(9, -1)
        z = norm(b + "norm1", h) * (1 + m[1]) + m[0]
        q, k, v = (split(y) for y in linear(b + "self_attn.qkv", z).chunk(3, -1))
        if first is None:
            first = v
        elif c["residual_v"]:
            share = weights[b + "self_attn.lambda_param"]
            v = share * v + (1 - share) * first
        h = h + m[2] * linear(b + "self_attn.proj", attend(rms(turned(q, turn)), rms(turned(k, turn)), v))
        z = norm(b + "norm2", h) * (1 + m[4]) + m[3]
        k, v = (split(y) for y in linear(b + "cross_attn.context_kv", text).chunk(2, -1))
        h = h + m[5] * linear(b + "cross_attn.proj", attend(rms(split(linear(b + "cross_attn.q", z))), rms(k), v))
        z = norm(b + "norm3", h) * (1 + m[7]) + m[6]
        h = h + m[8] * linear(b + "mlp.2", F.gelu(linear(b + "mlp.0", z)))
    shift, scale = linear("final_modulation.1", F.silu(time))[:, None].chunk(2, -1)
    tokens = linear("final_proj", norm("final_norm", h[:, REGISTERS:]) * (1 + scale) + shift)
    tokens = tokens.view(len(x), rows, columns, patch, patch, -1)
    return tokens.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


# ------------------------------------------------------------------------------------------------- a whole call
def read_text(tokenizer, t5, text, label, length, put):
    ids = tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    # without a mask: padding is part of what the model was trained with
    states = t5.encoder.final_layer_norm(t5(ids, output_hidden_states=True).hidden_states[-8])
    put(f"{label}.tokenizer.input_ids", ids)
    put(f"{label}.text_encoder.hidden", states)
    return states


def record(root, call):
    """Everything that is computed in one call."""
    from diffusers import AutoencoderKL
    from transformers import AutoTokenizer, T5EncoderModel

    seen = {}

    def put(name, value):
        seen.setdefault(name, value.detach().clone().contiguous())

    vae = AutoencoderKL.from_pretrained(root / "vae").eval()
    t5 = T5EncoderModel.from_pretrained(root / "text_encoder", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer")
    guidance, length = call.guidance or 0.0, call.max_sequence_length or TOKENS
    with torch.no_grad():
        text = read_text(tokenizer, t5, call.prompt, "prompt", length, put)
        if guidance > 1:
            # nothing to keep out is zeros, not an empty text
            away = read_text(tokenizer, t5, call.negative, "negative", length, put) if call.negative else torch.zeros_like(text)
            text = torch.cat([away.repeat(call.images, 1, 1), text.repeat(call.images, 1, 1)])
        else:
            text = text.repeat(call.images, 1, 1)
        latents = denoise(root, call, text, guidance, put)
        small.record_picture(vae, latents, put)
    return seen


def denoise(root, call, text, guidance, put):
    import json

    c = json.loads((root / "dit_model/config.json").read_text())
    weights = load_file(root / "dit_model/diffusion_pytorch_model.safetensors")
    shape = (call.images, c["in_channels"], call.height // 16 * 2, call.width // 16 * 2)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(call.seed))
    put("noise.first_draw", x)
    alpha = 2 * math.sqrt(shape[2] * shape[3] / 4096)

    def level(i):
        u = i / call.steps
        return u * alpha / (1 + (alpha - 1) * u)

    for step, i in enumerate(range(call.steps, 0, -1)):
        image = torch.cat([x, x]) if guidance > 1 else x
        v = forward(weights, c, image, text, torch.full((len(image),), level(i), dtype=x.dtype))
        put("step0.transformer.out", v)
        if guidance > 1:
            away, towards = v.chunk(2)
            v = away + guidance * (towards - away)
        x = x + (level(i) - level(i - 1)) * v
        put(f"step{step}.latents", x)
    return x
