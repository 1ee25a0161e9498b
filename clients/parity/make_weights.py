"""Rewrites a tiny diffusers folder as the files that owners of open weights have, with what must be read from each.

`write(SRC, OUT, layout=…, format=…)` writes one file from a `pipeline/` folder of make_reference.py and returns the decoded
values, float32, under diffusers' names ("component/name" where the file holds more than one component).

Layouts
  bfl           the publisher's names without prefix: FLUX transformer, SD3.5 MMDiT, AuraFlow, HiDream; also ae.safetensors
                (component="vae") and plain encoder files (component="text_encoder"…)
  stability     model.diffusion_model.* + first_stage_model.*, no text encoders (SD3.5's root file)
  aura          model.* + text_encoders.pile_t5xl.transformer.* + vae.* (AuraFlow's root file)
  comfy-bundle  model.diffusion_model.* + text_encoders.{clip_l,clip_g,t5xxl,…}.transformer.* + vae.* or
                first_stage_model.*
  diffusers     diffusers' names in a single file
  llamacpp      names of a converted text encoder (T5 encoder or Llama, component=…), GGUF only

Formats: safetensors-f32|bf16|f16, fp8-plain, fp8-scaled, nf4, gguf-F32|F16|BF16|Q8_0|Q6_K|Q5_K|Q5_1|Q5_0|Q4_K|Q4_1|Q4_0,
gguf-mix (a different kind of block for each tensor).

GGUF files follow the usual converters: vectors and tensors of at most 1024 values stay float, so do the first and last
layers of each family, everything that is not a matrix, and HiDream's expert gates; a row length that is no multiple of the
block falls back Q4_K -> Q5_0, Q5_K -> Q5_1, Q6_K -> Q8_0, then F16. Blocks are encoded simply, without a search for the
best scale: the layout is what they are true to.
"""
import argparse
import json
import math
import re
import struct
from collections import namedtuple
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

FAMILY = {"FluxPipeline": "flux", "FluxFillPipeline": "flux", "StableDiffusion3Pipeline": "sd3",
          "AuraFlowPipeline": "aura", "HiDreamImagePipeline": "hidream"}

# ------------------------------------------------------------------------------------------------ names
# diffusers module -> original module; "@n" = n-th row block of a fused matrix; full tensor names come first
_TWIN = lambda side, dif, q, k, v, out, ff, nq, nk, mod: {
    f"attn.{q}": f"{side}_attn.qkv@0", f"attn.{k}": f"{side}_attn.qkv@1", f"attn.{v}": f"{side}_attn.qkv@2",
    f"attn.{out}": f"{side}_attn.proj", f"{ff}.net.0.proj": f"{side}_mlp.0", f"{ff}.net.2": f"{side}_mlp.2",
    f"attn.{nq}.weight": f"{side}_attn.norm.query_norm.scale", f"attn.{nk}.weight": f"{side}_attn.norm.key_norm.scale",
    f"{mod}.linear": f"{side}_mod.lin"}
_SD3 = lambda side, q, k, v, out, ff, nq, nk, mod: {
    f"attn.{q}": f"{side}.attn.qkv@0", f"attn.{k}": f"{side}.attn.qkv@1", f"attn.{v}": f"{side}.attn.qkv@2",
    f"attn.{out}": f"{side}.attn.proj", f"{ff}.net.0.proj": f"{side}.mlp.fc1", f"{ff}.net.2": f"{side}.mlp.fc2",
    f"attn.{nq}": f"{side}.attn.ln_q", f"attn.{nk}": f"{side}.attn.ln_k", f"{mod}.linear": f"{side}.adaLN_modulation.1"}
_IMG = ("to_q", "to_k", "to_v", "to_out.0", "ff", "norm_q", "norm_k", "norm1")
_TXT = ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "ff_context", "norm_added_q", "norm_added_k",
        "norm1_context")
_EMBED = lambda dif, orig, a, b: {f"{dif}.linear_1": f"{orig}{a}", f"{dif}.linear_2": f"{orig}{b}"}
_T = "time_text_embed."
TABLES = {
    "flux": ({**_EMBED(_T + "timestep_embedder", "time_in", ".in_layer", ".out_layer"),
              **_EMBED(_T + "text_embedder", "vector_in", ".in_layer", ".out_layer"),
              **_EMBED(_T + "guidance_embedder", "guidance_in", ".in_layer", ".out_layer"),
              "x_embedder": "img_in", "context_embedder": "txt_in", "proj_out": "final_layer.linear",
              "norm_out.linear": "final_layer.adaLN_modulation.1"},
             {"transformer_blocks": ("double_blocks", {**_TWIN("img", "", *_IMG), **_TWIN("txt", "", *_TXT)}),
              "single_transformer_blocks": ("single_blocks", {
                  "norm.linear": "modulation.lin", "attn.to_q": "linear1@0", "attn.to_k": "linear1@1",
                  "attn.to_v": "linear1@2", "proj_mlp": "linear1@3", "proj_out": "linear2",
                  "attn.norm_q.weight": "norm.query_norm.scale", "attn.norm_k.weight": "norm.key_norm.scale"})}),
    "sd3": ({**_EMBED(_T + "timestep_embedder", "t_embedder.mlp", ".0", ".2"),
             **_EMBED(_T + "text_embedder", "y_embedder.mlp", ".0", ".2"),
             "pos_embed.pos_embed": "pos_embed", "pos_embed.proj": "x_embedder.proj",
             "context_embedder": "context_embedder", "proj_out": "final_layer.linear",
             "norm_out.linear": "final_layer.adaLN_modulation.1"},
            {"transformer_blocks": ("joint_blocks", {**_SD3("x_block", *_IMG), **_SD3("context_block", *_TXT)})}),
    "aura": ({**_EMBED("time_step_proj", "t_embedder.mlp", ".0", ".2"), "register_tokens": "register_tokens",
              "pos_embed.pos_embed": "positional_encoding", "pos_embed.proj": "init_x_linear",
              "context_embedder": "cond_seq_linear", "proj_out": "final_linear", "norm_out.linear": "modF.1"},
             {"joint_transformer_blocks": ("double_layers", {
                 "norm1.linear": "modX.1", "norm1_context.linear": "modC.1",
                 **{f"attn.to_{c}": f"attn.w2{c}" for c in "qkv"}, "attn.to_out.0": "attn.w2o",
                 **{f"attn.add_{c}_proj": f"attn.w1{c}" for c in "qkv"}, "attn.to_add_out": "attn.w1o",
                 **{f"ff.{d}": f"mlpX.{o}" for d, o in (("linear_1", "c_fc1"), ("linear_2", "c_fc2"),
                                                         ("out_projection", "c_proj"))},
                 **{f"ff_context.{d}": f"mlpC.{o}" for d, o in (("linear_1", "c_fc1"), ("linear_2", "c_fc2"),
                                                                 ("out_projection", "c_proj"))}}),
              "single_transformer_blocks": ("single_layers", {
                  "norm1.linear": "modCX.1", **{f"attn.to_{c}": f"attn.w1{c}" for c in "qkv"},
                  "attn.to_out.0": "attn.w1o", "ff.linear_1": "mlp.c_fc1", "ff.linear_2": "mlp.c_fc2",
                  "ff.out_projection": "mlp.c_proj"})}),
}
SWAPPED = re.compile(r"^(final_layer\.adaLN_modulation\.1|modF\.1)\.")  # (shift, scale) there, (scale, shift) in diffusers

Part = namedtuple("Part", "name rows")            # one diffusers tensor inside an original tensor
Orig = namedtuple("Orig", "tensor parts swapped")  # swapped: halves exchanged against diffusers


def original_module(family, name):
    """diffusers tensor or module name -> (original name, row block or None)"""
    if family == "hidream":
        return name, None
    top, blocks = TABLES[family]
    m = re.match(r"^(\w*transformer_blocks)\.(\d+)\.(.+)$", name)
    prefix, table, rest = (f"{blocks[m[1]][0]}.{m[2]}.", blocks[m[1]][1], m[3]) if m else ("", top, name)
    for key, leaf in ((rest, ""), rest.rsplit(".", 1) if "." in rest else (rest, "")):
        if key in table:
            target, _, part = table[key].partition("@")
            return prefix + target + (f".{leaf}" if leaf else ""), int(part) if part else None
    raise KeyError(f"no original name for {name}")


def swap(x):
    a, b = x.chunk(2, 0)
    return torch.cat([b, a])


def to_original(family, state):
    """{diffusers name: tensor} -> {original name: Orig}"""
    groups = {}
    for name, x in state.items():
        orig, order = original_module(family, name)
        groups.setdefault(orig, []).append((order or 0, name, x))
    last = max((int(k.split(".")[1]) for k in groups if k.startswith("joint_blocks.")), default=-1)
    out = {}
    for orig, members in groups.items():
        members.sort(key=lambda m: m[0])
        x = torch.cat([m[2] for m in members]) if len(members) > 1 else members[0][2]
        swapped = family != "hidream" and bool(SWAPPED.match(orig)) or \
            (family == "sd3" and orig.startswith(f"joint_blocks.{last}.context_block.adaLN_modulation."))
        parts = [Part(n, t.shape[0] if t.ndim else 1) for _, n, t in members]
        out[orig] = Orig((swap(x) if swapped else x).contiguous(), parts, swapped)
    return out


def back(orig, x):
    """Decoded original tensor -> [(diffusers name, tensor)]"""
    x = swap(x) if orig.swapped else x
    if len(orig.parts) == 1:
        return [(orig.parts[0].name, x)]
    return list(zip((p.name for p in orig.parts), x.split([p.rows for p in orig.parts])))


def vae_name(name, levels):
    """AutoencoderKL -> latent-diffusion autoencoder; attention matrices become 1x1 convolutions there"""
    name = re.sub(r"^encoder\.down_blocks\.(\d)\.(?:resnets\.(\d)|downsamplers\.0)",
                  lambda m: f"encoder.down.{m[1]}." + (f"block.{m[2]}" if m[2] else "downsample"), name)
    name = re.sub(r"^decoder\.up_blocks\.(\d)\.(?:resnets\.(\d)|upsamplers\.0)",
                  lambda m: f"decoder.up.{levels - 1 - int(m[1])}." + (f"block.{m[2]}" if m[2] else "upsample"), name)
    name = re.sub(r"\.mid_block\.resnets\.(\d)", lambda m: f".mid.block_{int(m[1]) + 1}", name)
    if ".mid_block.attentions.0." in name:
        name = name.replace(".mid_block.attentions.0.", ".mid.attn_1.")
        for a, b in ((".to_q.", ".q."), (".to_k.", ".k."), (".to_v.", ".v."), (".to_out.0.", ".proj_out."),
                     (".group_norm.", ".norm.")):
            name = name.replace(a, b)
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def vae_original(state):
    levels = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("encoder.down_blocks."))
    out = {}
    for k, x in state.items():
        o = vae_name(k, levels)
        out[o] = Orig(x[:, :, None, None] if ".mid.attn_1." in o and x.ndim == 2 else x, [Part(k, x.shape[0])], False)
    return out


T5_CPP = {"layer.0.SelfAttention.q": "attn_q", "layer.0.SelfAttention.k": "attn_k", "layer.0.SelfAttention.v": "attn_v",
          "layer.0.SelfAttention.o": "attn_o", "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b",
          "layer.0.layer_norm": "attn_norm", "layer.1.DenseReluDense.wi_0": "ffn_gate",
          "layer.1.DenseReluDense.wi_1": "ffn_up", "layer.1.DenseReluDense.wo": "ffn_down", "layer.1.layer_norm": "ffn_norm"}
LLAMA_CPP = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def interleave(x, heads):
    """Row order of q and k in converted Llama files: the two halves of each head alternate."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def deinterleave(x, heads):
    return x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:]).transpose(1, 2).reshape(x.shape)


def llamacpp(state, config):
    """-> {llama.cpp name: Orig}, permuted rows for Llama's q and k, general.architecture"""
    out = {}
    if config["model_type"] in ("t5", "umt5"):
        for k, x in state.items():
            m = re.match(r"^encoder\.block\.(\d+)\.(.+)\.weight$", k)
            if k in ("shared.weight", "encoder.final_layer_norm.weight"):
                o = "token_embd.weight" if k[0] == "s" else "enc.output_norm.weight"
            elif m:
                o = f"enc.blk.{m[1]}.{T5_CPP[m[2]]}.weight"
            else:
                continue  # the second copy of the embedding
            out[o] = Orig(x, [Part(k, x.shape[0])], False)
        return out, "t5encoder"
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    for k, x in state.items():
        m = re.match(r"^model\.layers\.(\d+)\.(.+)\.weight$", k)
        o = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}.get(k) or f"blk.{m[1]}.{LLAMA_CPP[m[2]]}.weight"
        h = heads if o.endswith("attn_q.weight") else kv if o.endswith("attn_k.weight") else 0
        out[o] = Orig(interleave(x, h) if h else x, [Part((k, h) if h else k, x.shape[0])], False)
    return out, "llama"


def llamacpp_meta(arch, c):
    """The sizes that converted text encoders carry (no tokenizer here)."""
    if arch == "llama":
        m = {"vocab_size": c["vocab_size"], "context_length": c["max_position_embeddings"], "embedding_length": c["hidden_size"],
             "block_count": c["num_hidden_layers"], "feed_forward_length": c["intermediate_size"], "attention.head_count": c["num_attention_heads"],
             "attention.head_count_kv": c["num_key_value_heads"], "attention.layer_norm_rms_epsilon": float(c["rms_norm_eps"]),
             "rope.freq_base": float(c.get("rope_theta") or c["rope_parameters"]["rope_theta"]),
             "rope.dimension_count": c["hidden_size"] // c["num_attention_heads"]}
    else:
        m = {"context_length": 512, "embedding_length": c["d_model"], "feed_forward_length": c["d_ff"], "block_count": c["num_layers"],
             "attention.head_count": c["num_heads"], "attention.key_length": c["d_kv"], "attention.value_length": c["d_kv"],
             "attention.layer_norm_epsilon": float(c["layer_norm_epsilon"]), "attention.layer_norm_rms_epsilon": float(c["layer_norm_epsilon"]),
             "attention.relative_buckets_count": c["relative_attention_num_buckets"]}
    return {f"{arch}.{k}": v for k, v in m.items()}


# --------------------------------------------------------------------------------------------- GGUF blocks
GGML = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22),
        "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210),
        "BF16": (30, 1, 2)}  # id, values per block, bytes per block
FTYPE = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q4_K": 14, "Q5_K": 16, "Q6_K": 18,
         "BF16": 32}
FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def half(x):
    return np.asarray(x, np.float32).astype(np.float16)


def _div(x, d):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(d != 0, x / np.where(d != 0, d, 1), 0)


def _u8(*arrays):
    return np.concatenate([np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1) for a in arrays], 1)


def block_small(x, bits, offset):
    """Q4_0, Q5_0 (offset False: signed around the middle) and Q4_1, Q5_1 (offset True: minimum stored)"""
    top = (1 << bits) - 1
    if offset:
        d, m = half((x.max(1) - x.min(1)) / top)[:, None], half(x.min(1))[:, None]
    else:
        extreme = x[np.arange(len(x)), np.abs(x).argmax(1)]
        d = half(extreme / -(1 << (bits - 1)))[:, None]
        m = None
    f = d.astype(np.float32)
    base = m.astype(np.float32) if offset else -(1 << (bits - 1)) * f
    q = np.clip(np.rint(_div(x - base, f)), 0, top).astype(np.uint8)
    value = q * f + base if offset else (q.astype(np.float32) - (1 << (bits - 1))) * f
    low = (q[:, :16] & 15) | ((q[:, 16:] & 15) << 4)
    parts = [d] + ([m] if offset else [])
    if bits == 5:
        parts.append((((q >> 4) & 1).astype(np.uint32) << np.arange(32, dtype=np.uint32)).sum(1, dtype=np.uint32)[:, None])
    return _u8(*parts, low), value


def block_q8_0(x):
    d = half(np.abs(x).max(1) / 127)[:, None]
    f = d.astype(np.float32)
    q = np.clip(np.rint(_div(x, f)), -127, 127).astype(np.int8)
    return _u8(d, q), q * f


def block_q45_k(x, bits):
    top, s = (1 << bits) - 1, x.reshape(-1, 8, 32)
    low = -np.minimum(s.min(2), 0)
    scale = (np.maximum(s.max(2), 0) + low) / top
    d, dmin = half(scale.max(1) / 63), half(low.max(1) / 63)
    fd, fm = d.astype(np.float32)[:, None], dmin.astype(np.float32)[:, None]
    sc = np.clip(np.rint(_div(scale, fd)), 0, 63).astype(np.uint8)
    mn = np.clip(np.rint(_div(low, fm)), 0, 63).astype(np.uint8)
    step, floor = (fd * sc)[:, :, None], (fm * mn)[:, :, None]
    q = np.clip(np.rint(_div(s + floor, step)), 0, top).astype(np.uint8)
    value = (step * q - floor).reshape(x.shape)
    six = np.concatenate([sc[:, :4] | ((sc[:, 4:] >> 4) << 6), mn[:, :4] | ((mn[:, 4:] >> 4) << 6),
                          (sc[:, 4:] & 15) | ((mn[:, 4:] & 15) << 4)], 1)
    qs = ((q[:, 0::2] & 15) | ((q[:, 1::2] & 15) << 4)).reshape(len(x), 128)
    parts = [d[:, None], dmin[:, None], six]
    if bits == 5:
        parts.append(((q >> 4) << np.arange(8, dtype=np.uint8)[None, :, None]).sum(1, dtype=np.uint8))
    return _u8(*parts, qs), value


def block_q6_k(x):
    s = x.reshape(-1, 16, 16)
    extreme = np.take_along_axis(s, np.abs(s).argmax(2)[:, :, None], 2)[:, :, 0]
    scale = extreme / -32  # signed: the extreme value becomes code 0
    d = half(np.abs(scale).max(1) / 127)
    f = d.astype(np.float32)[:, None]
    sc = np.clip(np.rint(_div(scale, f)), -128, 127).astype(np.int8)
    step = (f * sc)[:, :, None]
    q = np.clip(np.rint(_div(s, step)), -32, 31).astype(np.int8)
    value = (step * q).reshape(x.shape)
    u = (q + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    ql = np.concatenate([(u[:, :, 0] & 15) | ((u[:, :, 2] & 15) << 4), (u[:, :, 1] & 15) | ((u[:, :, 3] & 15) << 4)], 2)
    qh = (u[:, :, 0] >> 4) | ((u[:, :, 1] >> 4) << 2) | ((u[:, :, 2] >> 4) << 4) | ((u[:, :, 3] >> 4) << 6)
    return _u8(ql.reshape(len(x), 128), qh.reshape(len(x), 64), sc, d[:, None]), value


ENCODE = {"Q8_0": block_q8_0, "Q4_0": lambda x: block_small(x, 4, False), "Q5_0": lambda x: block_small(x, 5, False),
          "Q4_1": lambda x: block_small(x, 4, True), "Q5_1": lambda x: block_small(x, 5, True),
          "Q4_K": lambda x: block_q45_k(x, 4), "Q5_K": lambda x: block_q45_k(x, 5), "Q6_K": block_q6_k}


def ggml_encode(x, kind):
    """float32 tensor -> (bytes, decoded float32 tensor)"""
    x = x.float().contiguous()
    if kind in ("F32", "F16", "BF16"):
        y = x.to({"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[kind])
        raw = y.view(torch.int16).numpy() if kind == "BF16" else y.numpy()
        return raw.tobytes(), y.float()
    data, value = ENCODE[kind](x.numpy().reshape(-1, GGML[kind][1]))
    return np.ascontiguousarray(data).tobytes(), torch.from_numpy(np.ascontiguousarray(value, np.float32)).reshape(x.shape)


# first and last layers that the usual quantiser leaves alone
KEEP = {"flux": r"^(img_in|txt_in|time_in|vector_in|guidance_in|final_layer)\.",
        "sd3": r"^(final_layer|context_embedder|t_embedder|y_embedder|x_embedder)\.|^pos_embed$",
        "aura": r"^(t_embedder|init_x_linear|modF\.1|cond_seq_linear|final_linear)\.|^(positional_encoding|register_tokens)$",
        "hidream": r"^(x_embedder|t_embedder|p_embedder|final_layer|caption_projection)\.|\.ff_i\.gate\.weight$|img_emb\.emb_pos"}
HIPREC = {"hidream": r"\.ff_i\.gate\.weight$|img_emb\.emb_pos"}
MIX = ["Q8_0", "Q4_K", "Q5_K", "Q6_K", "Q5_0", "Q4_0", "Q4_1", "BF16", "F16", "Q5_1", "F32"]


def gguf_type(family, name, shape, want, o, index):
    if want == "mix":
        want = MIX[index % len(MIX)]
    n = math.prod(shape)
    if re.search(HIPREC.get(family, r"\Z(?!)"), name):
        return "F32"
    if len(shape) == 1 or n <= 1024:
        return o.small
    if len(shape) != 2 or (not o.quantise_all and re.search(KEEP.get(family, r"\Z(?!)"), name)):
        return o.base
    while shape[-1] % GGML[want][1]:
        want = FALLBACK.get(want, o.base if want in ("F32", "F16", "BF16") else "F16")
    return want


def gstr(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def gvalue(v):
    if isinstance(v, str):
        return struct.pack("<I", 8) + gstr(v)
    if isinstance(v, bool):
        return struct.pack("<IB", 7, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    kind = 8 if isinstance(v[0], str) else 6 if isinstance(v[0], float) else 5  # array of string, float32, int32
    return struct.pack("<IIQ", 9, kind, len(v)) + b"".join(gstr(e) if kind == 8 else struct.pack("<f" if kind == 6 else "<i", e) for e in v)


def write_gguf(path, meta, tensors, version=3, align=32):
    """tensors: [(name, shape as in torch, type id, bytes)]"""
    head = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(meta))
    head += b"".join(gstr(k) + gvalue(v) for k, v in meta.items())
    offset, body = 0, []
    for name, shape, kind, data in tensors:
        head += gstr(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape))
        head += struct.pack("<IQ", kind, offset)
        body.append(data + bytes(-len(data) % align))
        offset += len(body[-1])
    Path(path).write_bytes(head + bytes(-len(head) % align) + b"".join(body))


# ----------------------------------------------------------------------------------------- other encodings
FP8 = {"e4m3fn": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]


def nf4_encode(name, x):
    """-> {key: tensor}, decoded: 64 values per absmax, high nibble first"""
    code = torch.tensor(NF4)
    flat = x.float().reshape(-1, 64)
    absmax = flat.abs().amax(1)
    q = ((flat / absmax.clamp_min(1e-30)[:, None])[:, :, None] - code).abs().argmin(2).to(torch.uint8).reshape(-1)
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": list(x.shape)}
    keys = {name: ((q[0::2] << 4) | q[1::2])[:, None].contiguous(), name + ".absmax": absmax, name + ".quant_map": code.clone(),
            name + ".quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)}
    return keys, (code[q.long()].reshape(-1, 64) * absmax[:, None]).reshape(x.shape)


def fp8_scaled(name, x, o, meta):
    """-> {key: tensor}, decoded"""
    kind = FP8[o.fp8]
    layer = name.removesuffix(".weight")
    amax = x.abs().amax(1, keepdim=True) if o.per_row else x.abs().max()
    scale = (amax.clamp_min(1e-12) / torch.finfo(kind).max).float()
    q = (x / scale).to(kind)
    keys = {name: q}
    weight, inp = {"comfy": ("scale_weight", "scale_input")}.get(o.scale_names, ("weight_scale", "input_scale"))
    keys[f"{layer}.{weight}"] = scale if o.per_row else scale.reshape([1] if o.scale_rank1 else [])
    if o.scale_input:
        keys[f"{layer}.{inp}"] = torch.tensor(0.0625)  # must not change the result
    if o.scale_names == "comfy-quant":
        keys[f"{layer}.comfy_quant"] = torch.tensor(list(b'{"format": "float8_e4m3fn"}'), dtype=torch.uint8)
    elif o.scale_names == "header":
        meta["layers"][layer] = {"format": "float8_e4m3fn"}
    return keys, q.float() * scale


# ------------------------------------------------------------------------------------------------- files
def read_component(src, part):
    folder = Path(src) / part
    if not folder.is_dir() and part in ("text_encoder_4",):  # HiDream's fourth encoder lies beside the pipeline
        folder = Path(src).parent / "llama-3.1-8b-instruct"
    state = {}
    for f in sorted(folder.glob("*.safetensors")):
        state.update(load_file(str(f)))
    if not state:
        raise SystemExit(f"no weights in {folder}")
    config = json.loads((folder / "config.json").read_text())
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, config


def family_of(src):
    return FAMILY[json.loads((Path(src) / "model_index.json").read_text())["_class_name"]]


ENCODERS = {"flux": {"text_encoder": "clip_l", "text_encoder_2": "t5xxl"},
            "sd3": {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"},
            "aura": {"text_encoder": "pile_t5xl"},
            "hidream": {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl",
                        "text_encoder_4": "llama"}}


def options(**kw):
    d = dict(layout="bfl", format="safetensors-bf16", component="transformer", arch=None, prefix=None, small="F32", base="BF16",
             quantise_all=False, reshape=False, unit_dims="keep", scale_names="comfy", scale_input=False, per_row=False,
             scale_rank1=False, fp8="e4m3fn", fp8_all=False, vae_prefix=None, drop=(), plain_scales=False, extras=True)
    unknown = set(kw) - set(d)
    if unknown:
        raise TypeError(f"unknown options {sorted(unknown)}")
    return argparse.Namespace(**{**d, **kw})


def collect(src, o):
    """-> [(component, key prefix, {name in file: Orig})], llama.cpp architecture or None"""
    family = family_of(src)
    one = lambda part, names: (part, o.prefix or "", names)

    def part_names(part):
        state, config = read_component(src, part)
        if part == "transformer":
            return to_original(family, state) if o.layout != "diffusers" else {k: Orig(v, [Part(k, 0)], False) for k, v in state.items()}
        if part == "vae" and o.layout != "diffusers":
            return vae_original(state)
        return {k: Orig(v, [Part(k, 0)], False) for k, v in state.items()}
    if o.layout == "llamacpp":
        names, arch = llamacpp(*read_component(src, o.component))
        return [one(o.component, names)], arch
    if o.layout in ("bfl", "diffusers"):
        return [one(o.component, part_names(o.component))], None
    vae = o.vae_prefix or ("first_stage_model." if o.layout == "stability" or family == "sd3" else "vae.")
    main = "model." if o.layout == "aura" else "model.diffusion_model."
    parts = [("transformer", main, part_names("transformer")), ("vae", vae, part_names("vae"))]
    if o.layout != "stability":
        for part, short in ENCODERS[family].items():
            parts.append((part, f"text_encoders.{short}.transformer.", part_names(part)))
    return parts, None


def write(src, out, **kw):
    """Write one file. -> {diffusers name or component/name: float32 tensor}"""
    o = options(**kw)
    family = family_of(src)
    parts, arch = collect(src, o)
    container, oracle, gguf, index = {}, {}, [], 0
    quant = {"format_version": "1.0", "layers": {}}
    meta = {}
    if o.format.startswith("gguf-"):
        want = o.format[5:]
        name = {"flux": "flux", "sd3": "sd3", "aura": "aura", "hidream": "hidream"}[family] if arch is None else arch
        if o.arch != "absent":
            meta = {"general.architecture": o.arch or name, "general.quantization_version": 2,
                    "general.file_type": FTYPE.get(want, 1)}
            if arch:
                meta.update({"general.name": "tiny", **llamacpp_meta(arch, read_component(src, o.component)[1])})
    for part, prefix, names in parts:
        for name, orig in names.items():
            if any(re.search(d, name) for d in o.drop):
                continue
            x, key = orig.tensor, prefix + name
            matrix = name.endswith(".weight") and x.ndim == 2 and not re.search(r"norm|embed_tokens|shared|token_embedding|position_embedding|relative_attention", name)
            if not x.is_floating_point():
                container[key], value = x, x
            elif o.format.startswith("gguf-"):
                shape = list(x.shape)
                kind = gguf_type(family if part == "transformer" else "", name, shape, want, o, index)
                index += 1
                if o.reshape and len(shape) == 2 and shape[-1] % 256 and math.prod(shape) % 256 == 0 and math.prod(shape) > 1024 \
                        and kind not in (o.small,) and want in ENCODE:
                    kind, shape = want, [math.prod(shape) // 256, 256]
                    meta[f"comfy.gguf.orig_shape.{key}"] = [int(d) for d in x.shape]
                data, value = ggml_encode(x, kind)
                if o.unit_dims == "drop":
                    while len(shape) > 1 and shape[0] == 1:
                        shape = shape[1:]
                gguf.append((key, shape, GGML[kind][0], data))
            elif o.format == "nf4" and matrix and x.numel() % 64 == 0 and part == "transformer":
                keys, value = nf4_encode(key, x)
                container.update(keys)
            elif o.format == "fp8-scaled" and matrix and part not in ("vae",) and not re.search(KEEP.get(family, r"\Z(?!)"), name):
                keys, value = fp8_scaled(key, x, o, quant)
                container.update(keys)
            else:
                dtype = {"safetensors-f32": torch.float32, "safetensors-f16": torch.float16}.get(o.format, torch.bfloat16)
                if o.format == "fp8-plain" and part != "vae" and (o.fp8_all or x.ndim > 1):
                    dtype = FP8[o.fp8]
                container[key] = x.to(dtype).contiguous()
                value = container[key].float()
            for n, v in back(orig, value):
                if isinstance(n, tuple):
                    n, v = n[0], deinterleave(v, n[1])
                oracle[n if len(parts) == 1 else f"{part}/{n}"] = v.float().contiguous().clone() if v.is_floating_point() else v
        if o.format == "fp8-scaled" and o.scale_names == "comfy" and part != "vae":
            container[prefix + "scaled_fp8"] = torch.zeros(0, dtype=FP8[o.fp8])
        if o.extras and o.layout in ("comfy-bundle", "aura") and "clip" in prefix:
            container[prefix.replace("transformer.", "") + "logit_scale"] = torch.tensor(4.6055)
            hidden = names["text_model.final_layer_norm.weight"].tensor.shape[0]
            container.setdefault(prefix + "text_projection.weight", torch.eye(hidden).to(torch.bfloat16))
        if o.extras and o.layout != "diffusers" and not o.format.startswith("gguf-") and "shared.weight" in names:
            container[prefix + "encoder.embed_tokens.weight"] = container[prefix + "shared.weight"].clone()
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    if o.format.startswith("gguf-"):
        write_gguf(out, meta, gguf)
    else:
        header = {"format": "pt"} if o.layout == "diffusers" or o.component != "transformer" else {"modelspec.architecture": family}
        if o.format == "fp8-scaled" and o.scale_names == "header":
            header["_quantization_metadata"] = json.dumps(quant)
        save_file(container, str(out), metadata=header)
    return oracle
