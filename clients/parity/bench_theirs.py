#!/usr/bin/env python3
"""One picture by diffusers in a process of its own, and what it took: seconds by stage and step, memory. JSON on stdout.

    python bench_theirs.py FOLDER --prompt TEXT [--size 512] [--steps 4] [--images 1] [--tokens 256] [--guidance 1.0]
                           [--dtype float32] [--threads 2] [--runs 1] [-o FILE.png]

The stages are those of `scumble bench engine`; `whole` begins before torch is imported. Of several runs the last one is told.
"""

import time

BEGAN = time.perf_counter()

import argparse
import json
import os
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}


def memory():
    """Bytes that this process holds: resident, files among them, the most so far."""
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    kib = lambda name: 1024 * int(lines[name].split()[0])
    return {"resident": kib("VmRSS"), "files": kib("RssFile"), "peak": kib("VmHWM")}


def arguments():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder")
    ap.add_argument("--prompt", required=True)
    ap.add_argument("--size", type=int, default=512)
    ap.add_argument("--steps", type=int, default=4)
    ap.add_argument("--images", type=int, default=1)
    ap.add_argument("--tokens", type=int, default=256)
    ap.add_argument("--guidance", type=float, default=1.0)
    ap.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--runs", type=int, default=1)
    ap.add_argument("-o", "--output")
    return ap.parse_args()


class Stages:
    """Marks where one stage ends and the next begins."""

    def __init__(self, pipe):
        self.encoded = self.denoised = None
        self.steps = []
        self.encode, self.decode = pipe.encode_prompt, pipe.vae.decode
        pipe.encode_prompt, pipe.vae.decode = self.encode_prompt, self.decode_latents

    def encode_prompt(self, *args, **kwargs):
        out = self.encode(*args, **kwargs)
        self.encoded = time.perf_counter()
        return out

    def decode_latents(self, *args, **kwargs):
        self.denoised = time.perf_counter()
        return self.decode(*args, **kwargs)

    def step(self, pipe, index, timestep, kwargs):
        self.steps.append(time.perf_counter())
        return kwargs


def described(folder):
    """What a checkpoint's folder says of itself, and diffusers' class for it."""
    import diffusers

    index = json.loads(Path(folder, "model_index.json").read_text())
    return index, getattr(diffusers, index["_class_name"])


def beside(folder, index, dtype):
    """What a pipeline does not find in its folder's index: that it is to do without a part, and HiDream-I1's Llama."""
    given = {part: None for part, entry in index.items() if entry == [None, None]}
    if index["_class_name"] == "HiDreamImagePipeline":
        from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

        given["tokenizer_4"] = PreTrainedTokenizerFast.from_pretrained(Path(folder, "tokenizer_4"))
        # the pipeline asks for its attention's scores, which only this has
        given["text_encoder_4"] = LlamaForCausalLM.from_pretrained(Path(folder, "text_encoder_4"), dtype=dtype,
                                                                   attn_implementation="eager")
    return given


def opened(folder, size, dtype):
    """A pipeline that draws pictures of this size."""
    index, pipeline = described(folder)
    pipe = pipeline.from_pretrained(folder, dtype=dtype, **beside(folder, index, dtype))
    pipe.set_progress_bar_config(disable=True)
    if index["_class_name"] == "HiDreamImagePipeline":
        # it takes the size of a picture for a shape, whose area is this
        pipe.default_sample_size = size / pipe.vae_scale_factor
    return pipe


def guided(pipe, guidance):
    """Guidance as the pipelines of FLUX take it; others are called without."""
    if type(pipe).__name__ != "FluxPipeline":
        return {}
    return {"true_cfg_scale": guidance, "negative_prompt": "" if guidance > 1 else None}


def main():
    args = arguments()
    import torch

    # imports its class
    described(args.folder)
    torch.set_num_threads(args.threads)
    before, imported = memory(), time.perf_counter()
    pipe = opened(args.folder, args.size, getattr(torch, args.dtype))
    loaded, loaded_memory = time.perf_counter(), memory()
    stages = Stages(pipe)
    for _ in range(args.runs):
        stages.steps.clear()
        began = time.perf_counter()
        images = pipe(args.prompt, height=args.size, width=args.size, num_inference_steps=args.steps, guidance_scale=1.0,
                      max_sequence_length=args.tokens, num_images_per_prompt=args.images, callback_on_step_end=stages.step,
                      generator=torch.Generator("cpu").manual_seed(1), **guided(pipe, args.guidance)).images
        end = time.perf_counter()
    after = memory()
    if args.output:
        images[0].save(args.output)
    ends = [stages.encoded, *stages.steps]
    print(json.dumps({
        "import": imported - BEGAN, "load": loaded - imported, "text_encode": stages.encoded - began,
        "denoise": stages.denoised - stages.encoded, "decode": end - stages.denoised, "picture": end - began,
        "step": [b - a for a, b in zip(ends, ends[1:])], "whole": time.perf_counter() - BEGAN,
        "memory": {"before": before, "loaded": loaded_memory, "after": after, "peak": memory()["peak"]}}))


if __name__ == "__main__":
    main()
