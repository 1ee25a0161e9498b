#!/usr/bin/env python3
"""Tiny random FLUX.1 checkpoints, and what diffusers computes with them.

For every requested variant the script

1. builds a very small pipeline with deterministic random weights and locally built tokenizers,
2. writes it in the diffusers folder layout (published file names and tensor names),
3. loads it back with ``from_pretrained`` and runs it on CPU in float32, and
4. stores inputs, intermediates and outputs in ``reference.safetensors`` plus a ``reference.json``
   that lists the call parameters, the schedule and the library versions.

Output layout::

    OUT/<variant>/pipeline/...            diffusers folder layout (model_index.json, transformer/, vae/, ...)
    OUT/<variant>/reference.safetensors
    OUT/<variant>/reference.json

Usage::

    python make_reference.py OUT                     # both variants
    python make_reference.py OUT --only flux-dev     # one of them
    python make_reference.py OUT --check             # run everything twice and compare bit for bit
    python make_reference.py OUT --set flux.num_layers=3 --set call.num_images=2    # other sizes (see TINY)
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
from safetensors.torch import load_file, save_file

PROMPT = "A cat holding a sign that says hello world, 3 red stars"
WORDS = "a an the cat dog holding sign that says hello world red blue stars low quality blurry of in on with".split()
# Sizes of the tiny checkpoints and parameters of the calls; `--set section.key=JSON` replaces single entries.
TINY = {
    "weights": {"tag": ""},  # put in front of every weight tag: another text gives other weights
    "tokenizer": {"words": WORDS},
    "flux": {"num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4,
             "axes_dims_rope": [4, 6, 6]},
    "flux_clip": {"hidden": 32, "heads": 4, "layers": 2},
    "flux_t5": {"d_model": 48, "num_layers": 2, "num_heads": 4, "d_kv": 8},
    "vae": {"block_out_channels": [16, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8},
    "call": {"prompt": PROMPT, "num_images": 1, "guidance_scale": None, "tiling": False},
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
    return len(vocab)


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


# ------------------------------------------------------------------------------------------------- models
def clip_text(tag, vocab, hidden, heads, layers, act):
    import transformers

    cfg = transformers.CLIPTextConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=77, projection_dim=hidden, hidden_act=act,
        bos_token_id=0, eos_token_id=2, pad_token_id=1, layer_norm_eps=1e-5)
    return fill_weights(transformers.CLIPTextModel(cfg), tag)


def t5_text(tag, vocab, d_model, num_layers, num_heads, d_kv):
    import transformers

    cfg = transformers.T5Config(
        vocab_size=vocab, d_model=d_model, d_kv=d_kv, d_ff=2 * d_model, num_layers=num_layers, num_heads=num_heads,
        relative_attention_num_buckets=32, relative_attention_max_distance=128, feed_forward_proj="gated-gelu",
        layer_norm_epsilon=1e-6, dropout_rate=0.1, tie_word_embeddings=False, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, is_encoder_decoder=True)
    model = fill_weights(transformers.T5EncoderModel(cfg), tag)
    model.get_input_embeddings().weight.data.copy_(model.shared.weight.data)
    return model


def make_vae(tag):
    from diffusers import AutoencoderKL

    n = 4
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * n,
        up_block_types=("UpDecoderBlock2D",) * n, act_fn="silu", latent_channels=16, sample_size=64,
        scaling_factor=0.3611, shift_factor=0.1159, force_upcast=True, use_quant_conv=False,
        use_post_quant_conv=False, **TINY["vae"])
    return fill_weights(vae, tag)


def build_flux(folder, variant):
    import diffusers

    vocab = write_clip_tokenizer(folder / "tokenizer", "<|endoftext|>")
    t5_vocab = write_t5_tokenizer(folder / "tokenizer_2")
    schnell = variant == "flux-schnell"
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=64, guidance_embeds=not schnell,
        joint_attention_dim=TINY["flux_t5"]["d_model"], pooled_projection_dim=TINY["flux_clip"]["hidden"],
        **{**TINY["flux"], "axes_dims_rope": tuple(TINY["flux"]["axes_dims_rope"])})
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000, shift=1.0 if schnell else 3.0, use_dynamic_shifting=not schnell, base_shift=0.5,
        max_shift=1.15, base_image_seq_len=256, max_image_seq_len=4096)
    return {
        "scheduler": scheduler,
        "text_encoder": clip_text("flux/clip", vocab, act="quick_gelu", **TINY["flux_clip"]),
        "text_encoder_2": t5_text("flux/t5", t5_vocab, **TINY["flux_t5"]),
        "transformer": fill_weights(transformer, variant),
        "vae": make_vae("flux/vae"),
    }


def published_text_encoder_names(folder):
    """Published CLIP text checkpoints prefix every tensor with `text_model.`; add it when the library did not."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if "embeddings.token_embedding.weight" in tensors:
        save_file({f"text_model.{k}": v for k, v in tensors.items()}, path, metadata={"format": "pt"})


def write_pipeline(folder, variant):
    index = {"_class_name": "FluxPipeline", "_diffusers_version": "0.30.0",
             "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "T5TokenizerFast"]}
    for name, part in build_flux(folder, variant).items():
        part.save_pretrained(folder / name)
        library = "transformers" if name.startswith("text_encoder") else "diffusers"
        index[name] = [library, type(part).__name__]
    published_text_encoder_names(folder / "text_encoder")
    dump(folder / "model_index.json", dict(sorted(index.items())))


# ---------------------------------------------------------------------------------------------- recording
class Recorder:
    """Collects named tensors; every tensor is stored as a contiguous CPU copy."""

    def __init__(self):
        self.tensors = {}

    def put(self, name, value):
        if torch.is_tensor(value) and name not in self.tensors:
            self.tensors[name] = value.detach().cpu().clone().contiguous()

    def hook_first_call(self, module, name, inputs=()):
        """Record the first call of `module`: selected keyword inputs and what it returns."""
        done = []

        def hook(mod, args, kwargs, output):
            if done:
                return
            done.append(True)
            for key in inputs:
                self.put(f"{name}.in.{key}", kwargs.get(key))
            self.put(f"{name}.out", output[0])

        return module.register_forward_hook(hook, with_kwargs=True)


def record_encoders(rec, pipe, prompt, max_len):
    """Token ids and the raw output of both text encoders, computed outside the pipeline call."""
    slots = [("tokenizer", pipe.tokenizer, pipe.text_encoder, 77),
             ("tokenizer_2", pipe.tokenizer_2, pipe.text_encoder_2, max_len)]
    for name, tokenizer, encoder, length in slots:
        batch = tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        rec.put(f"prompt.{name}.input_ids", batch.input_ids)
        encoder_name = name.replace("tokenizer", "text_encoder")
        with torch.no_grad():
            out = encoder(batch.input_ids)
        rec.put(f"prompt.{encoder_name}.last_hidden_state", out.last_hidden_state)
        rec.put(f"prompt.{encoder_name}.pooled", getattr(out, "pooler_output", None))


def run_pipeline(pipe, rec, seed, call):
    """Run the pipeline once and record schedule, per-step latents, first-step tensors, decode and image."""
    step_inputs = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "guidance", "txt_ids",
                   "img_ids")
    hook = rec.hook_first_call(pipe.transformer, "step0.transformer", step_inputs)
    decode = pipe.vae.decode

    def decode_and_record(z, *a, **k):
        out = decode(z, *a, **k)
        rec.put("vae.decode.in", z)
        rec.put("vae.decode.out", out[0])
        return out

    pipe.vae.decode = decode_and_record

    def on_step_end(p, i, t, kw):
        rec.put(f"step{i}.latents", kw["latents"])
        return kw

    try:
        out = pipe(generator=torch.Generator("cpu").manual_seed(seed), callback_on_step_end=on_step_end,
                   output_type="np", **call)
    finally:
        pipe.vae.decode = decode
        hook.remove()
    rec.put("schedule.timesteps", pipe.scheduler.timesteps.float())
    rec.put("schedule.sigmas", pipe.scheduler.sigmas.float())
    image = torch.from_numpy(np.ascontiguousarray(out.images))
    rec.put("image.float_nhwc", image)
    rec.put("image.uint8_nhwc", torch.from_numpy((out.images * 255).round().astype(np.uint8)))


def run_variant(variant, out_dir, args):
    import diffusers
    import tokenizers
    import transformers

    folder = out_dir / variant
    if folder.exists():
        shutil.rmtree(folder)
    pipe_dir = folder / "pipeline"
    pipe_dir.mkdir(parents=True)
    write_pipeline(pipe_dir, variant)
    pipe = diffusers.FluxPipeline.from_pretrained(pipe_dir)
    if TINY["call"]["tiling"]:
        pipe.vae.enable_tiling()

    wanted, guidance = TINY["call"], 0.0 if variant == "flux-schnell" else 3.5
    call = {"prompt": wanted["prompt"], "height": args.height, "width": args.width, "num_inference_steps": args.steps,
            "max_sequence_length": args.max_sequence_length, "num_images_per_prompt": wanted["num_images"],
            "guidance_scale": guidance if wanted["guidance_scale"] is None else wanted["guidance_scale"]}
    rec = record(pipe, args.seed, call)
    save_file(dict(sorted(rec.tensors.items())), folder / "reference.safetensors")
    dump(folder / "reference.json", {
        "variant": variant, "pipeline_class": type(pipe).__name__, "seed": args.seed, "call": call,
        "timesteps": rec.tensors["schedule.timesteps"].tolist(), "sigmas": rec.tensors["schedule.sigmas"].tolist(),
        "tensors": {k: describe(v) for k, v in sorted(rec.tensors.items())},
        "versions": {m.__name__: m.__version__ for m in (torch, diffusers, transformers, tokenizers, np)},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    })
    return rec


def record(pipe, seed, call):
    """Everything that `pipe` computes in one call. Also for pipelines that were not made here."""
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    rec = Recorder()
    record_encoders(rec, pipe, call["prompt"], call["max_sequence_length"])
    cell = 2 * pipe.vae_scale_factor  # a token is two by two latents
    shape = (call["num_images_per_prompt"], pipe.vae.config.latent_channels, call["height"] // cell * 2,
             call["width"] // cell * 2)
    rec.put("noise.first_draw", torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)))
    run_pipeline(pipe, rec, seed, call)
    return rec


VARIANTS = ["flux-schnell", "flux-dev"]


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
