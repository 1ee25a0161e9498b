#!/usr/bin/env python3
"""Tiny random checkpoints of FLUX.1, SD3.5 and AuraFlow with adapters, and what diffusers computes with them.

For every requested variant the script

1. builds a very small pipeline with deterministic random weights and locally built tokenizers,
2. writes it in the diffusers folder layout (published file names and tensor names),
3. loads it back with ``from_pretrained`` and runs it on CPU in float32, and
4. stores inputs, intermediates and outputs in ``reference.safetensors`` plus a ``reference.json``
   that lists the call parameters, the schedule and the library versions.

Output layout::

    OUT/<variant>/pipeline/...            diffusers folder layout (model_index.json, transformer/, vae/, ...)
    OUT/<variant>/controlnet/...          only for sd35-controlnet
    OUT/<variant>/lora_*.safetensors      only for *-lora
    OUT/<variant>/picture.png, mask.png   where a picture is given
    OUT/<variant>/ip_adapter.safetensors, image_encoder/   only for sd35-ip-adapter
    OUT/<variant>/reference.safetensors
    OUT/<variant>/reference.json

Usage::

    python make_reference.py OUT                       # all variants
    python make_reference.py OUT --only flux-dev,sd35  # a subset
    python make_reference.py OUT --check               # run everything twice and compare bit for bit
    python make_reference.py OUT --set flux.num_layers=3 --set call.num_images=2    # other sizes (see TINY)

Needs what requirements.txt lists.
"""

import argparse
import json
import math
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

PROMPT = "A cat holding a sign that says hello world, 3 red stars"
NEGATIVE = "blurry, low quality"
WORDS = "a an the cat dog holding sign that says hello world red blue stars low quality blurry of in on with".split()
# Sizes of the tiny checkpoints and parameters of the calls; `--set section.key=JSON` replaces single entries.
TINY = {
    "weights": {"tag": "",  # put in front of every weight tag: another text gives other weights
                "calm": 1.0},  # how much of the noise level FLUX takes in
    "tokenizer": {"words": WORDS},
    "flux": {"num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4,
             "axes_dims_rope": [4, 6, 6]},
    "flux_clip": {"hidden": 32, "heads": 4, "layers": 2},
    "flux_t5": {"d_model": 48, "num_layers": 2, "num_heads": 4, "d_kv": 8},
    "sd35": {"num_layers": 4, "attention_head_dim": 16, "num_attention_heads": 4, "pos_embed_max_size": 24},
    "sd35_clip_l": {"hidden": 32, "heads": 4, "layers": 3},
    "sd35_clip_g": {"hidden": 40, "heads": 4, "layers": 3},
    "sd35_t5": {"d_model": 80, "num_layers": 2, "num_heads": 4, "d_kv": 8},
    "controlnet": {"num_layers": 2},
    "ip_adapter": {"hidden": 24, "heads": 4, "layers": 3, "num_queries": 5, "image": [40, 40]},
    "auraflow": {"num_mmdit_layers": 2, "num_single_dit_layers": 2, "attention_head_dim": 16,
                 "num_attention_heads": 4, "pos_embed_max_size": 144},
    "auraflow_umt5": {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8},
    "vae": {"block_out_channels": [16, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8, "sample_size": 64},
    "call": {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_images": 1, "guidance_scale": None, "tiling": False,
             "strength": None,  # of the change of a picture; as the pipeline has it where None
             "first_block": None,  # threshold of first-block caching
             "loras": [[4, 2.0, 0.8], [8, None, -0.5]],  # rank, alpha, adapter weight
             "controlnet": [0.7, 0.0, 0.5],  # conditioning scale, start, end
             "ip_adapter_scale": 0.6},
}
CHARS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"-:;()"


# ------------------------------------------------------------------------------------------------ weights
def fill_weights(module, tag):
    """Overwrite every parameter with values that depend only on (tag, parameter name, shape)."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            g = torch.Generator().manual_seed(zlib.crc32(f"{TINY['weights']['tag']}{tag}/{name}".encode()))
            noise = torch.randn(p.shape, generator=g, dtype=torch.float32)
            leaf = name.rsplit(".", 1)[-1]
            if p.ndim >= 2 and leaf == "weight" and "embedding" not in name and "shared" not in name:
                fan_in = p[0].numel()
                noise = noise / math.sqrt(fan_in)
            elif p.ndim == 1 and leaf == "weight":
                noise = 1.0 + 0.1 * noise
            elif leaf == "bias":
                noise = 0.05 * noise
            else:
                noise = 0.3 * noise
            p.copy_(noise)
    return module.eval()


# --------------------------------------------------------------------------------------------- tokenizers
def dump(path, obj):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(obj, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(tensor):
    return f"{str(tensor.dtype).replace('torch.', '')} {list(tensor.shape)}"


def byte_alphabet():
    """The printable stand-ins that byte-level BPE uses for the 256 byte values, in vocabulary order."""
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in keep]
    return [chr(b) for b in keep] + [chr(256 + i) for i in range(len(rest))]


def word_merges(words, end=""):
    """Left-to-right merges that build each word from characters; the last symbol carries `end`."""
    merges, pieces = [], []
    for w in words:
        symbols = list(w[:-1]) + [w[-1] + end]
        left = symbols[0]
        for right in symbols[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
                pieces.append(left + right)
            left += right
    return merges, list(dict.fromkeys(pieces))


def write_clip_tokenizer(folder, pad_token):
    """vocab.json + merges.txt + the two config files, as in the published CLIP tokenizer folders."""
    bos, eos = "<|startoftext|>", "<|endoftext|>"
    alphabet = byte_alphabet()
    merges, pieces = word_merges([w for w in TINY["tokenizer"]["words"] if len(w) > 1], "</w>")
    tokens = alphabet + [c + "</w>" for c in alphabet] + pieces
    tokens = list(dict.fromkeys(tokens)) + [bos, eos]
    vocab = {t: i for i, t in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2"] + [f"{a} {b}" for a, b in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": bos, "eos_token": eos, "pad_token": pad_token, "unk_token": eos}
    dump(folder / "special_tokens_map.json", special)
    added = {
        str(vocab[t]): {"content": t, "lstrip": False, "normalized": t == bos, "rstrip": False,
                        "single_word": False, "special": True}
        for t in dict.fromkeys([pad_token, bos, eos])
    }
    dump(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "added_tokens_decoder": added, "clean_up_tokenization_spaces": True,
        "do_lower_case": True, "errors": "replace", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer",
        **special,
    })
    return len(vocab), vocab


def special_entry(token):
    return {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": True}


def write_t5_tokenizer(folder):
    """tokenizer.json with a Unigram model: <pad>=0, </s>=1, <unk>=2, pieces, then <extra_id_*> in reverse."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0)]
    pieces += [("\u2581" + w, -4.0 - 0.01 * i) for i, w in enumerate(TINY["tokenizer"]["words"])]
    pieces += [(c, -7.0 - 0.01 * i) for i, c in enumerate(CHARS)]
    extra = [f"<extra_id_{i}>" for i in range(9, -1, -1)]
    pieces += [(e, 0.0) for e in extra]
    tok = Tokenizer(Unigram(pieces, unk_id=2, byte_fallback=False))
    tok.normalizer = normalizers.Sequence([
        normalizers.NFKC(), normalizers.Strip(left=False, right=True),
        normalizers.Replace(Regex(" {2,}"), "\u2581"),
    ])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tok.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tok.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ["<pad>", "</s>", "<unk>"] + extra])
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    ids = {t: i for i, (t, _) in enumerate(pieces)}
    special = {"additional_special_tokens": list(reversed(extra)), "eos_token": "</s>", "pad_token": "<pad>",
               "unk_token": "<unk>"}
    dump(folder / "special_tokens_map.json", special)
    dump(folder / "tokenizer_config.json", {
        "added_tokens_decoder": {str(ids[t]): special_entry(t) for t in ["<pad>", "</s>", "<unk>"] + extra},
        "clean_up_tokenization_spaces": True, "extra_ids": len(extra), "legacy": False, "model_max_length": 512,
        "sp_model_kwargs": {}, "tokenizer_class": "T5Tokenizer", **special,
    })
    return len(pieces)


def write_llama_tokenizer(folder):
    """tokenizer.json with byte-fallback BPE (<unk>=0, <s>=1, </s>=2, 256 byte tokens, pieces); appends </s> only."""
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
    from tokenizers.models import BPE

    merges, pieces = word_merges(["\u2581" + w for w in TINY["tokenizer"]["words"]])
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["\u2581"] + list(CHARS) + pieces
    tokens = list(dict.fromkeys(tokens))
    vocab = {t: i for i, t in enumerate(tokens)}
    tok = Tokenizer(BPE(vocab=vocab, merges=merges, fuse_unk=True, byte_fallback=True, unk_token="<unk>"))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(content=" ", left=1)])
    tok.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>", "unk_token": "<unk>"}
    dump(folder / "special_tokens_map.json", special)
    dump(folder / "tokenizer_config.json", {
        "add_bos_token": False, "add_eos_token": True,
        "added_tokens_decoder": {str(vocab[t]): special_entry(t) for t in ("<unk>", "<s>", "</s>")},
        "clean_up_tokenization_spaces": False, "legacy": True, "model_max_length": 512, "padding_side": "right",
        "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizerFast", **special,
    })
    return len(vocab)


# ------------------------------------------------------------------------------------------------- models
def clip_text(cls_name, tag, vocab, hidden, heads, layers, act, wide=None):
    import transformers

    cfg = transformers.CLIPTextConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=wide or 2 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=77, projection_dim=hidden, hidden_act=act,
        bos_token_id=0, eos_token_id=2, pad_token_id=1, layer_norm_eps=1e-5)
    return fill_weights(getattr(transformers, cls_name)(cfg), tag)


def t5_text(cls_name, cfg_name, tag, vocab, eos, d_model, num_layers, num_heads, d_kv, d_ff=None):
    import transformers

    cfg = getattr(transformers, cfg_name)(
        vocab_size=vocab, d_model=d_model, d_kv=d_kv, d_ff=d_ff or 2 * d_model, num_layers=num_layers, num_heads=num_heads,
        relative_attention_num_buckets=32, relative_attention_max_distance=128, feed_forward_proj="gated-gelu",
        layer_norm_epsilon=1e-6, dropout_rate=0.1, tie_word_embeddings=False, pad_token_id=0, eos_token_id=eos,
        decoder_start_token_id=0, is_encoder_decoder=True)
    model = fill_weights(getattr(transformers, cls_name)(cfg), tag)
    model.get_input_embeddings().weight.data.copy_(model.shared.weight.data)
    return model


def make_vae(tag, latent_channels, scaling, shift, quant_conv):
    from diffusers import AutoencoderKL

    n = 4
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n, act_fn="silu", latent_channels=latent_channels,
        scaling_factor=scaling, shift_factor=shift, force_upcast=True, use_quant_conv=quant_conv,
        use_post_quant_conv=quant_conv, **TINY["vae"])
    return fill_weights(vae, tag)


def build_flux(folder, variant):
    import diffusers

    vocab, _ = write_clip_tokenizer(folder / "tokenizer", "<|endoftext|>")
    t5_vocab = write_t5_tokenizer(folder / "tokenizer_2")
    fill, schnell = variant == "flux-fill", variant == "flux-schnell"
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=384 if fill else 64, out_channels=64 if fill else None, guidance_embeds=not schnell,
        joint_attention_dim=TINY["flux_t5"]["d_model"], pooled_projection_dim=TINY["flux_clip"]["hidden"],
        **{**TINY["flux"], "axes_dims_rope": tuple(TINY["flux"]["axes_dims_rope"])})
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000, shift=1.0 if schnell else 3.0, use_dynamic_shifting=not schnell, base_shift=0.5,
        max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)
    fill_weights(transformer, variant)
    with torch.no_grad():
        transformer.time_text_embed.timestep_embedder.linear_2.weight *= TINY["weights"]["calm"]
    return {
        "scheduler": scheduler,
        "text_encoder": clip_text("CLIPTextModel", "flux/clip", vocab, act="quick_gelu", **TINY["flux_clip"]),
        "text_encoder_2": t5_text("T5EncoderModel", "T5Config", "flux/t5", t5_vocab, 1, **TINY["flux_t5"]),
        "transformer": transformer,
        "vae": make_vae("flux/vae", 16, 0.3611, 0.1159, False),
    }, "FluxFillPipeline" if fill else "FluxPipeline"


def inner_dim(sizes):
    return sizes["attention_head_dim"] * sizes["num_attention_heads"]


def sd35_pooled_dim():
    return TINY["sd35_clip_l"]["hidden"] + TINY["sd35_clip_g"]["hidden"]


def build_sd35(folder, variant):
    import diffusers

    vocab, _ = write_clip_tokenizer(folder / "tokenizer", "<|endoftext|>")
    write_clip_tokenizer(folder / "tokenizer_2", "!")
    t5_vocab = write_t5_tokenizer(folder / "tokenizer_3")
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=16, joint_attention_dim=TINY["sd35_t5"]["d_model"],
        caption_projection_dim=inner_dim(TINY["sd35"]), pooled_projection_dim=sd35_pooled_dim(), out_channels=16,
        dual_attention_layers=(), qk_norm="rms_norm", **TINY["sd35"])
    return {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        "text_encoder": clip_text("CLIPTextModelWithProjection", "sd35/clip_l", vocab, act="quick_gelu",
                                  **TINY["sd35_clip_l"]),
        "text_encoder_2": clip_text("CLIPTextModelWithProjection", "sd35/clip_g", vocab, act="gelu",
                                    **TINY["sd35_clip_g"]),
        "text_encoder_3": t5_text("T5EncoderModel", "T5Config", "sd35/t5", t5_vocab, 1, **TINY["sd35_t5"]),
        "transformer": fill_weights(transformer, "sd35"),
        "vae": make_vae("sd35/vae", 16, 1.5305, 0.0609, False),
    }, "StableDiffusion3Pipeline"


def build_auraflow(folder, variant):
    import diffusers

    vocab = write_llama_tokenizer(folder / "tokenizer")
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, joint_attention_dim=TINY["auraflow_umt5"]["d_model"],
        caption_projection_dim=inner_dim(TINY["auraflow"]), out_channels=4, **TINY["auraflow"])
    return {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.73),
        "text_encoder": t5_text("UMT5EncoderModel", "UMT5Config", "auraflow/umt5", vocab, 2, **TINY["auraflow_umt5"]),
        "transformer": fill_weights(transformer, "auraflow"),
        "vae": make_vae("auraflow/vae", 4, 0.13025, None, True),
    }, "AuraFlowPipeline"


# tokenizer slot -> class named in the published model_index.json
TOKENIZER_CLASSES = {
    "build_flux": {"tokenizer": "CLIPTokenizer", "tokenizer_2": "T5TokenizerFast"},
    "build_sd35": {"tokenizer": "CLIPTokenizer", "tokenizer_2": "CLIPTokenizer", "tokenizer_3": "T5TokenizerFast"},
    "build_auraflow": {"tokenizer": "LlamaTokenizerFast"},
}


def published_text_encoder_names(folder):
    """Published CLIP text checkpoints prefix every tensor with `text_model.`; add it when the library did not."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if "embeddings.token_embedding.weight" in tensors:
        save_file({f"text_model.{k}": v for k, v in tensors.items()}, path, metadata={"format": "pt"})


def write_pipeline(folder, builder, variant):
    parts, cls_name = builder(folder, variant)
    index = {"_class_name": cls_name, "_diffusers_version": "0.30.0"}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        library = "transformers" if name.startswith("text_encoder") else "diffusers"
        index[name] = [library, type(part).__name__]
        if type(part).__name__.startswith("CLIPText"):
            published_text_encoder_names(folder / name)
    for slot, cls in TOKENIZER_CLASSES[builder.__name__].items():
        index[slot] = ["transformers", cls]
    dump(folder / "model_index.json", dict(sorted(index.items())))
    return cls_name


# ---------------------------------------------------------------------------------------------- recording
class Recorder:
    """Collects named tensors; every tensor is stored as a contiguous CPU copy."""

    def __init__(self):
        self.tensors = {}

    def put(self, name, value):
        if torch.is_tensor(value) and name not in self.tensors:
            self.tensors[name] = value.detach().cpu().clone().contiguous()

    def hook_first_call(self, module, name, inputs=()):
        """Record the first call of `module`: selected keyword inputs and every tensor it returns."""
        done = []

        def hook(mod, args, kwargs, output):
            if done:
                return
            done.append(True)
            for key in inputs:
                self.put(f"{name}.in.{key}", kwargs.get(key))
            outs = output if isinstance(output, (tuple, list)) else [output]
            for i, o in enumerate(outs):
                if isinstance(o, (tuple, list)):
                    for j, oo in enumerate(o):
                        self.put(f"{name}.out.{i}.{j}", oo)
                else:
                    self.put(f"{name}.out.{i}" if len(outs) > 1 else f"{name}.out", o)

        return module.register_forward_hook(hook, with_kwargs=True)


def test_image(height, width):
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x / (width - 1), 255 * y / (height - 1), 127.5 + 127.5 * np.sin(x / 5.0 + y / 7.0)], -1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def test_mask(height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4: 3 * height // 4, width // 3: 2 * width // 3 + 5] = 255
    return mask


def record_encoders(rec, pipe, prompt, negative, max_len):
    """Token ids and the raw output of every text encoder, computed outside the pipeline call."""
    slots = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"), ("tokenizer_3", "text_encoder_3")]
    for label, text in (("prompt", prompt), ("negative", negative)):
        if text is None:
            continue
        for tok_slot, enc_slot in slots:
            tok, enc = getattr(pipe, tok_slot, None), getattr(pipe, enc_slot, None)
            if tok is None or enc is None:
                continue
            clip = type(enc).__name__.startswith("CLIP")
            batch = tok([text], padding="max_length", max_length=77 if clip else max_len, truncation=True,
                        return_tensors="pt")
            rec.put(f"{label}.{tok_slot}.input_ids", batch.input_ids)
            rec.put(f"{label}.{tok_slot}.attention_mask", batch.attention_mask)
            with torch.no_grad():
                if clip:
                    out = enc(batch.input_ids, output_hidden_states=True)
                    rec.put(f"{label}.{enc_slot}.penultimate", out.hidden_states[-2])
                    rec.put(f"{label}.{enc_slot}.last_hidden_state", out.last_hidden_state)
                    pooled = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
                    rec.put(f"{label}.{enc_slot}.pooled", pooled)
                else:
                    mask = batch.attention_mask if type(enc).__name__.startswith("UMT5") else None
                    rec.put(f"{label}.{enc_slot}.last_hidden_state", enc(batch.input_ids, attention_mask=mask)[0])


def run_pipeline(pipe, rec, seed, call, controlnet=None):
    """Run the pipeline once and record schedule, per-step latents, first-step tensors, decode and image."""
    handles = []
    step_inputs = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance", "txt_ids",
                   "img_ids")
    handles.append(rec.hook_first_call(pipe.transformer, "step0.transformer", step_inputs))
    if controlnet is not None:
        handles.append(rec.hook_first_call(controlnet, "step0.controlnet", ("controlnet_cond", "pooled_projections")))
    if getattr(pipe.transformer, "image_proj", None) is not None:
        handles.append(rec.hook_first_call(pipe.transformer.image_proj, "step0.image_proj"))
    if type(pipe).__name__ == "AuraFlowPipeline":  # passes the latents positionally
        handles.append(pipe.transformer.register_forward_pre_hook(
            lambda mod, a: rec.put("step0.transformer.in.hidden_states", a[0]) if a else None))

    decode, encode = pipe.vae.decode, pipe.vae.encode

    def decode_and_record(z, *a, **k):
        out = decode(z, *a, **k)
        rec.put("vae.decode.in", z)
        rec.put("vae.decode.out", out[0])
        return out

    encoded = []

    def encode_and_record(x, *a, **k):
        out = encode(x, *a, **k)
        i = len(encoded)
        encoded.append(1)
        rec.put(f"vae.encode.{i}.in", x)
        rec.put(f"vae.encode.{i}.mean", out.latent_dist.mean)
        rec.put(f"vae.encode.{i}.logvar", out.latent_dist.logvar)
        if controlnet is not None:  # sampled from torch's global generator there, which no server can repeat
            out.latent_dist.sample = lambda *a, **k: out.latent_dist.mean
        return out

    pipe.vae.decode, pipe.vae.encode = decode_and_record, encode_and_record

    def on_step_end(p, i, t, kw):
        rec.put(f"step{i}.latents", kw["latents"])
        return kw

    try:
        out = pipe(generator=torch.Generator("cpu").manual_seed(seed), callback_on_step_end=on_step_end,
                   output_type="np", **call)
    finally:
        pipe.vae.decode, pipe.vae.encode = decode, encode
        for h in handles:
            h.remove()
    rec.put("schedule.timesteps", pipe.scheduler.timesteps.float())
    rec.put("schedule.sigmas", pipe.scheduler.sigmas.float())
    image = torch.from_numpy(np.ascontiguousarray(out.images))
    rec.put("image.float_nhwc", image)
    rec.put("image.uint8_nhwc", torch.from_numpy((out.images * 255).round().astype(np.uint8)))


# ----------------------------------------------------------------------------------------------- variants
def random_lora(transformer, rank, tag):
    """PEFT-style A/B pairs for a handful of linear layers, keyed by diffusers module names."""
    wanted = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "ff.net.0.proj", "ff.linear_1", "proj_mlp",
              "proj_out")
    pairs = {}
    for name, mod in transformer.named_modules():
        if isinstance(mod, torch.nn.Linear) and name.endswith(wanted) and "blocks" in name:
            g = torch.Generator().manual_seed(zlib.crc32(f"{TINY['weights']['tag']}{tag}/{name}".encode()))
            a = torch.randn(rank, mod.in_features, generator=g) / math.sqrt(mod.in_features)
            b = 0.2 * torch.randn(mod.out_features, rank, generator=g)
            pairs[name] = (a, b)
    return pairs


def prepare_lora(folder, pipe, rec):
    """One PEFT file (alpha given per module, so scale = alpha / rank) and one without alpha; merged 0.8 / -0.5."""
    files = []
    specs = [(rank, alpha, random_lora(pipe.transformer, rank, f"lora{i}")) for i, (rank, alpha, _) in
             enumerate(TINY["call"]["loras"])]  # before any adapter wraps the linear layers
    for i, (rank, alpha, pairs) in enumerate(specs):
        tensors = {}
        for name, (a, b) in pairs.items():
            tensors[f"transformer.{name}.lora_A.weight"] = a.contiguous()
            tensors[f"transformer.{name}.lora_B.weight"] = b.contiguous()
            if alpha is not None:
                tensors[f"transformer.{name}.alpha"] = torch.tensor(alpha)
        path = folder / f"lora_{i}.safetensors"
        save_file(tensors, path)
        pipe.load_lora_weights(str(folder), weight_name=path.name, adapter_name=f"lora{i}")
        files.append({"file": path.name, "rank": rank, "alpha": alpha})
    weights = [weight for _, _, weight in TINY["call"]["loras"]]
    pipe.set_adapters([f"lora{i}" for i in range(len(files))], adapter_weights=weights)
    return {"loras": files, "adapter_weights": weights}


def prepare_sd35_ip_adapter(folder, pipe, rec):
    """Random IP-Adapter in the published file layout (`image_proj.*`, `ip_adapter.<block>.*`) plus a SigLIP encoder."""
    import transformers
    from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
    from diffusers.models.embeddings import IPAdapterTimeImageProjection

    sizes = TINY["ip_adapter"]
    vision = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(
        hidden_size=sizes["hidden"], intermediate_size=2 * sizes["hidden"], num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"], image_size=28, patch_size=14))
    fill_weights(vision, "sd35/siglip").save_pretrained(folder / "image_encoder")
    processor_cls = getattr(transformers, "SiglipImageProcessorPil", None) or transformers.SiglipImageProcessor
    processor = processor_cls(size={"height": 28, "width": 28}, resample=3, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor.save_pretrained(folder / "image_encoder")

    inner = pipe.transformer.inner_dim
    # the loader derives the head count from to_q (64 per head) and keeps depth 4 / ffn ratio 4
    proj = fill_weights(IPAdapterTimeImageProjection(
        embed_dim=sizes["hidden"], output_dim=inner, hidden_dim=64, depth=4, dim_head=64, heads=1,
        num_queries=sizes["num_queries"], timestep_in_dim=32), "sd35/ip_proj")
    state = {"image_proj": dict(proj.state_dict()), "ip_adapter": {}}
    for i in range(len(pipe.transformer.attn_processors)):
        attn = SD3IPAdapterJointAttnProcessor2_0(
            hidden_size=inner, ip_hidden_states_dim=inner, head_dim=pipe.transformer.config.attention_head_dim,
            timesteps_emb_dim=64)
        for k, v in fill_weights(attn, f"sd35/ip{i}").state_dict().items():
            state["ip_adapter"][f"{i}.{k}"] = v
    flat = {f"{part}.{k}": v.contiguous() for part, sd in state.items() for k, v in sd.items()}
    save_file(flat, folder / "ip_adapter.safetensors")

    pipe.image_encoder, pipe.feature_extractor = vision.eval(), processor
    pipe.transformer._load_ip_adapter_weights(state, low_cpu_mem_usage=False)
    pipe.set_ip_adapter_scale(TINY["call"]["ip_adapter_scale"])
    image = test_image(*sizes["image"])
    rec.put("input.ip_image_uint8_hwc", torch.from_numpy(image))
    rec.put("input.ip_pixel_values", processor(images=Image.fromarray(image), return_tensors="pt").pixel_values)
    with torch.no_grad():
        hidden = vision(rec.tensors["input.ip_pixel_values"], output_hidden_states=True).hidden_states[-2]
    rec.put("ip_adapter.image_embeds", hidden)
    return {"ip_adapter_scale": TINY["call"]["ip_adapter_scale"], "_ip_adapter_image": Image.fromarray(image)}


def build(folder, variant):
    """The pipeline of a variant, loaded from files, with its ControlNet where it has one."""
    import diffusers

    family = variant.split("-")[0]
    base = {"flux-img2img": "flux-dev", "flux-dev-lora": "flux-dev", "flux-fill-lora": "flux-fill"}.get(variant, variant)
    builder = {"flux": build_flux, "sd35": build_sd35, "auraflow": build_auraflow}[family]
    cls_name = write_pipeline(folder / "pipeline", builder, base)
    extra, controlnet = {}, None
    if variant == "flux-img2img":
        cls_name = "FluxImg2ImgPipeline"
    if variant == "sd35-controlnet":
        controlnet = make_controlnet(folder)
        cls_name, extra = "StableDiffusion3ControlNetPipeline", {"controlnet": controlnet}
    pipe = getattr(diffusers, cls_name).from_pretrained(folder / "pipeline", **extra)
    if TINY["call"]["tiling"]:
        pipe.vae.enable_tiling()
    if TINY["call"]["first_block"] is not None:
        pipe.transformer.enable_cache(diffusers.FirstBlockCacheConfig(threshold=TINY["call"]["first_block"]))
    return pipe, controlnet


def make_controlnet(folder):
    import diffusers

    net = fill_weights(diffusers.SD3ControlNetModel(
        sample_size=16, patch_size=2, in_channels=16, num_layers=TINY["controlnet"]["num_layers"],
        attention_head_dim=TINY["sd35"]["attention_head_dim"], num_attention_heads=TINY["sd35"]["num_attention_heads"],
        joint_attention_dim=None, caption_projection_dim=inner_dim(TINY["sd35"]),
        pooled_projection_dim=sd35_pooled_dim(), out_channels=16, pos_embed_max_size=None, pos_embed_type=None,
        use_pos_embed=False, force_zeros_for_pooled_projection=False), "sd35/controlnet")
    net.save_pretrained(folder / "controlnet")
    return diffusers.SD3ControlNetModel.from_pretrained(folder / "controlnet").eval()


def saved(folder, name, pixels):
    """A picture that both programs read."""
    picture = Image.fromarray(pixels)
    picture.save(folder / name)
    return picture


def inputs(variant, folder, pipe, rec, h, w):
    """What a variant is given beside prompt and size, and what is to be noted of it."""
    wanted, strength = TINY["call"], TINY["call"]["strength"]
    more, info = {}, {}
    if variant.startswith("flux-fill"):
        more = {"image": saved(folder, "picture.png", test_image(h, w)),
                "mask_image": saved(folder, "mask.png", test_mask(h, w)), "strength": 1.0}
    elif variant == "flux-img2img":
        more = {"image": saved(folder, "picture.png", test_image(h, w))}
    elif variant == "sd35-controlnet":
        scale, start, end = wanted["controlnet"]
        more = {"control_image": saved(folder, "picture.png", test_image(h, w)), "controlnet_conditioning_scale": scale,
                "control_guidance_start": start, "control_guidance_end": end}
    elif variant == "sd35-ip-adapter":
        info = prepare_sd35_ip_adapter(folder, pipe, rec)
        more = {"ip_adapter_image": info.pop("_ip_adapter_image")}
        more["ip_adapter_image"].save(folder / "picture.png")
    if variant.endswith("-lora"):
        info = prepare_lora(folder, pipe, rec)
    if strength is not None and "strength" in more or variant == "flux-img2img":
        more["strength"] = 0.6 if strength is None else strength
    return more, info


def run_variant(variant, out_dir, args):
    import diffusers
    import tokenizers
    import transformers

    folder = out_dir / variant
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "pipeline").mkdir(parents=True)
    pipe, controlnet = build(folder, variant)
    wanted, usual = TINY["call"], {"flux-schnell": 0.0, "flux-fill": 30.0, "sd35": 4.5}
    guidance = usual.get(variant, usual.get(variant.split("-")[0], 3.5))
    call = {"prompt": wanted["prompt"], "height": args.height, "width": args.width, "num_inference_steps": args.steps,
            "max_sequence_length": args.max_sequence_length, "num_images_per_prompt": wanted["num_images"],
            "guidance_scale": guidance if wanted["guidance_scale"] is None else wanted["guidance_scale"]}
    if not variant.startswith("flux"):
        call["negative_prompt"] = wanted["negative_prompt"]
    rec = Recorder()
    more, info = inputs(variant, folder, pipe, rec, args.height, args.width)
    record(pipe, args.seed, call, rec, controlnet, more)
    save_file(dict(sorted(rec.tensors.items())), folder / "reference.safetensors")
    dump(folder / "reference.json", {
        "variant": variant, "pipeline_class": type(pipe).__name__, "seed": args.seed, "call": call, **info,
        "timesteps": rec.tensors["schedule.timesteps"].tolist(), "sigmas": rec.tensors["schedule.sigmas"].tolist(),
        "tensors": {k: describe(v) for k, v in sorted(rec.tensors.items())},
        "versions": {m.__name__: m.__version__ for m in (torch, diffusers, transformers, tokenizers, np)},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    })
    return rec


def record(pipe, seed, call, rec=None, controlnet=None, more=None):
    """Everything that `pipe` computes in one call. Also for pipelines that were not made here."""
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    rec, more = rec or Recorder(), more or {}
    negative = call.get("negative_prompt") if call["guidance_scale"] > 1.0 else None
    record_encoders(rec, pipe, call["prompt"], negative, call["max_sequence_length"])
    cell = 2 * pipe.vae_scale_factor  # a token is two by two latents
    first = 1 if "image" in more else call["num_images_per_prompt"]  # a picture's own latents are drawn once
    shape = (first, pipe.vae.config.latent_channels, call["height"] // cell * 2, call["width"] // cell * 2)
    rec.put("noise.first_draw", torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)))
    run_pipeline(pipe, rec, seed, {**call, **more}, controlnet)
    return rec


VARIANTS = ["flux-schnell", "flux-dev", "flux-img2img", "flux-fill", "flux-fill-lora", "flux-dev-lora", "sd35", "sd35-lora",
           
            "sd35-controlnet", "sd35-ip-adapter", "auraflow"]


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("out", type=Path)
    ap.add_argument("--only", default=",".join(VARIANTS), help="comma separated subset of: " + ", ".join(VARIANTS))
    ap.add_argument("--seed", type=int, default=1234)
    ap.add_argument("--steps", type=int, default=4)
    ap.add_argument("--height", type=int, default=64)
    ap.add_argument("--width", type=int, default=96)
    ap.add_argument("--max-sequence-length", type=int, default=48)
    ap.add_argument("--check", action="store_true", help="build and run everything a second time and compare")
    ap.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=JSON", help="change an entry of TINY")
    args = ap.parse_args(argv)
    for item in args.set:
        path, value = item.split("=", 1)
        section, key = path.split(".", 1)
        if key not in TINY.get(section, {}):
            ap.error(f"no entry {path}")
        TINY[section][key] = json.loads(value)

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    names = [v.strip() for v in args.only.split(",") if v.strip()]
    unknown = set(names) - set(VARIANTS)
    if unknown:
        ap.error(f"unknown variants: {sorted(unknown)}")
    for name in names:
        rec = run_variant(name, args.out, args)
        size = sum(f.stat().st_size for f in (args.out / name).rglob("*") if f.is_file())
        image = rec.tensors["image.float_nhwc"]
        finite = all(torch.isfinite(t).all() for t in rec.tensors.values() if t.is_floating_point())
        note = f"finite={finite} image mean={image.mean():.4f} std={image.std():.4f}"
        if args.check:
            with tempfile.TemporaryDirectory() as tmp:
                again = run_variant(name, Path(tmp), args)
            same = again.tensors.keys() == rec.tensors.keys() and all(
                torch.equal(v, again.tensors[k]) for k, v in rec.tensors.items())
            note += f" repeatable={same}"
        print(f"{name}: {len(rec.tensors)} tensors, {size / 1e6:.2f} MB on disk, {note}")


if __name__ == "__main__":
    main()
