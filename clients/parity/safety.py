#!/usr/bin/env python3
"""Tiny random safety checkers in the published layouts, and what diffusers and transformers compute with them.

CompVis' is diffusers' ``StableDiffusionSafetyChecker`` behind transformers' ``CLIPImageProcessorPil``, Falconsai's is
transformers' ``ViTForImageClassification`` behind ``ViTImageProcessorPil``, both in float32 on the CPU. Pictures have sides of
many kinds; every number before the decision is kept.

    python safety.py OUT       # OUT/<kind>/{config.json,model.safetensors,…} and OUT/<kind>.safetensors

Pillow 13 resamples rows before columns where that is cheaper; here columns always come first, as in Pillow 12 and before, so
each direction is a call of its own.
"""

import argparse
import contextlib
import json
import math
import unittest.mock
import zlib
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 28,
        "patch_size": 14}
PROJECTION = 24
VIT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32,
       "patch_size": 16}
# Columns and rows: a square, both orientations, odd sides, smaller than what the networks see, one long and narrow.
SIZES = [(28, 28), (96, 64), (61, 97), (33, 31), (9, 7), (300, 40)]
KINDS = ("compvis", "falconsai")


def picture(width, height):
    """Colours that follow from the place."""
    pixel = [((x * 7 + y * 3) % 256, (x * x + y * 5) % 256, (x * y * 3 + 40) % 256)
             for y in range(height) for x in range(width)]
    image = Image.new("RGB", (width, height))
    image.putdata(pixel)
    return image


@contextlib.contextmanager
def columns_first():
    whole = Image.Image.resize

    def resize(image, size, resample=None, box=None, reducing_gap=None):
        return whole(whole(image, (size[0], image.height), resample), size, resample)

    with unittest.mock.patch.object(Image.Image, "resize", resize):
        yield


def fill(tag, name, shape):
    """Values that depend only on (tag, name, shape), as make_reference.py's."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(f"{tag}/{name}".encode())))
    leaf = name.rsplit(".", 1)[-1]
    if len(shape) == 1 and leaf == "weight":
        return 1.0 + 0.1 * noise
    if leaf == "weight" and "embedding" not in name:
        return noise / math.sqrt(math.prod(shape[1:]))
    return (0.05 if leaf == "bias" else 0.3) * noise


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def compvis_shapes():
    """Under the published names."""
    width, wide, patch = CLIP["hidden_size"], CLIP["intermediate_size"], CLIP["patch_size"]
    shapes = {"concept_embeds": (17, PROJECTION), "concept_embeds_weights": (17,),
              "special_care_embeds": (3, PROJECTION), "special_care_embeds_weights": (3,),
              "visual_projection.weight": (PROJECTION, width)}
    model = "vision_model.vision_model"
    shapes |= {f"{model}.embeddings.class_embedding": (width,),
               f"{model}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
               f"{model}.embeddings.position_embedding.weight": ((CLIP["image_size"] // patch) ** 2 + 1, width)}
    shapes |= norm(f"{model}.pre_layrnorm", width) | norm(f"{model}.post_layernorm", width)
    for i in range(CLIP["num_hidden_layers"]):
        layer = f"{model}.encoder.layers.{i}"
        shapes |= norm(f"{layer}.layer_norm1", width) | norm(f"{layer}.layer_norm2", width)
        shapes |= linear(f"{layer}.mlp.fc1", width, wide) | linear(f"{layer}.mlp.fc2", wide, width)
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", width, width)
    return shapes


def falconsai_shapes():
    """Under the published names."""
    width, wide, patch = VIT["hidden_size"], VIT["intermediate_size"], VIT["patch_size"]
    shapes = {"vit.embeddings.cls_token": (1, 1, width),
              "vit.embeddings.patch_embeddings.projection.weight": (width, 3, patch, patch),
              "vit.embeddings.patch_embeddings.projection.bias": (width,),
              "vit.embeddings.position_embeddings": (1, (VIT["image_size"] // patch) ** 2 + 1, width)}
    shapes |= norm("vit.layernorm", width) | linear("classifier", width, 2)
    for i in range(VIT["num_hidden_layers"]):
        layer = f"vit.encoder.layer.{i}"
        shapes |= norm(f"{layer}.layernorm_before", width) | norm(f"{layer}.layernorm_after", width)
        shapes |= linear(f"{layer}.intermediate.dense", width, wide) | linear(f"{layer}.output.dense", wide, width)
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            shapes |= linear(f"{layer}.attention.{part}", width, width)
    return shapes


def configs(kind):
    """config.json and preprocessor_config.json with the words of the published ones."""
    if kind == "compvis":
        side = CLIP["image_size"]
        config = {"architectures": ["StableDiffusionSafetyChecker"], "model_type": "clip", "projection_dim": PROJECTION,
                  "vision_config": {"model_type": "clip_vision_model", "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
                                    "projection_dim": PROJECTION, **CLIP}}
        processor = {"crop_size": side, "do_center_crop": True, "do_normalize": True, "do_resize": True,
                     "feature_extractor_type": "CLIPFeatureExtractor",
                     "image_mean": [0.48145466, 0.4578275, 0.40821073],
                     "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": side}
        return config, processor
    side = VIT["image_size"]
    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "hidden_act": "gelu",
              "id2label": {"0": "normal", "1": "nsfw"}, "label2id": {"normal": "0", "nsfw": "1"},
              "layer_norm_eps": 1e-12, "num_channels": 3, "qkv_bias": True, **VIT}
    processor = {"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
                 "image_processor_type": "ViTImageProcessor", "image_std": [0.5] * 3, "resample": 2,
                 "rescale_factor": 1 / 255, "size": {"height": side, "width": side}}
    return config, processor


def write(folder, kind, tag=""):
    """A checkpoint, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = compvis_shapes() if kind == "compvis" else falconsai_shapes()
    tensors = {name: fill(f"{tag}safety/{kind}", name, shape).contiguous() for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for name, value in zip(("config.json", "preprocessor_config.json"), configs(kind)):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def compvis(folder, image):
    """Every number on the way; the scores as the checker rounds them."""
    from diffusers.pipelines.stable_diffusion import safety_checker as module
    from transformers import CLIPImageProcessorPil

    checker = module.StableDiffusionSafetyChecker.from_pretrained(folder).eval()
    made, cosines = {}, []
    distance = module.cosine_distance

    def spy(embeds, others):
        made["embeds"] = embeds
        cosines.append(distance(embeds, others))
        return cosines[-1]

    with columns_first():
        pixels = CLIPImageProcessorPil.from_pretrained(folder)(images=image, return_tensors="pt").pixel_values
    with unittest.mock.patch.object(module, "cosine_distance", spy):
        _, flags = checker(clip_input=pixels, images=[torch.zeros(1)])
    made |= {"pixels": pixels, "pooled": checker.vision_model(pixels)[1], "special_cosines": cosines[0],
             "concept_cosines": cosines[1]}
    adjustment, scores = 0.0, {"special": [], "concept": []}
    for kind, found, limits in (("special", cosines[0], checker.special_care_embeds_weights),
                                ("concept", cosines[1], checker.concept_embeds_weights)):
        for cosine, limit in zip(found[0].numpy(), limits):
            scores[kind].append(round(cosine - limit.item() + adjustment, 3))
            if kind == "special" and scores[kind][-1] > 0:
                adjustment = 0.01
    made |= {f"{kind}_scores": torch.tensor([values]) for kind, values in scores.items()}
    assert flags == [any(score > 0 for score in scores["concept"])]
    return made | {"flagged": torch.tensor(flags, dtype=torch.uint8)}


@torch.no_grad()
def falconsai(folder, image):
    """Every number on the way."""
    from transformers import ViTForImageClassification, ViTImageProcessorPil

    model = ViTForImageClassification.from_pretrained(folder).eval()
    with columns_first():
        pixels = ViTImageProcessorPil.from_pretrained(folder)(images=image, return_tensors="pt").pixel_values
    logits = model(pixels).logits
    return {"pixels": pixels, "pooled": model.vit(pixels).last_hidden_state[:, 0], "logits": logits,
            "probabilities": logits.softmax(-1)}


def record(folder, kind, sizes=SIZES):
    """What is computed for a picture of each size, under names that begin with it."""
    compute = compvis if kind == "compvis" else falconsai
    tensors = {}
    for width, height in sizes:
        for name, tensor in compute(folder, picture(width, height)).items():
            tensors[f"{width}x{height}.{name}"] = tensor.contiguous()
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for kind in KINDS:
        write(out / kind, kind)
        save_file(record(out / kind, kind), out / f"{kind}.safetensors")


if __name__ == "__main__":
    main()
