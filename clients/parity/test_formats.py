#!/usr/bin/env python3
"""Weights as owners have them: Scumble draws from one file what diffusers draws from a folder with the same numbers.

Every case makes a tiny checkpoint, rewrites it as a file of some layout and format (make_weights.py), stores what that
file's numbers are when they are decoded in a diffusers folder, and compares what both programs make on the way as
test_parity.py does.

    python test_formats.py           # all cases
    python test_formats.py -k gguf   # some

SCUMBLE_BIN names another binary than target/release/scumble.
"""

import shutil
import tempfile
import unittest
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

import make_reference
import make_weights
import test_parity
from test_parity import Call, draw, make_checkpoint

ENDPOINTS = {"flux-dev": "fal-ai/flux/dev", "flux-schnell": "fal-ai/flux/schnell",
             "sd35": "fal-ai/stable-diffusion-v35-large", "auraflow": "fal-ai/aura-flow"}


class Formats(unittest.TestCase):
    """Each line is a checkpoint and a file."""

    compare = test_parity.Parity.compare

    # ------------------------------------------------------------------------------------------ publishers' files
    def test_a_publishers_flux(self):
        self.file("flux-dev", layout="bfl", format="safetensors-bf16")

    def test_stabilitys_own_file(self):
        self.file("sd35", layout="stability", format="safetensors-f16")

    def test_the_file_of_auraflow(self):
        self.file("auraflow", layout="aura", format="safetensors-f16")

    def test_a_bundle_in_scaled_fp8(self):
        self.file("flux-schnell", layout="comfy-bundle", format="fp8-scaled", scale_input=True)

    # -------------------------------------------------------------------------------------------------------- fp8
    def test_plain_fp8_with_vectors(self):
        self.file("flux-dev", layout="bfl", format="fp8-plain", fp8_all=True)

    def test_fp8_of_the_other_kind_with_a_scale_for_each_row(self):
        self.file("sd35", layout="bfl", format="fp8-scaled", fp8="e5m2", scale_names="diffusers", per_row=True,
                  prefix="model.diffusion_model.")

    def test_fp8_whose_header_names_its_layers(self):
        self.file("auraflow", layout="bfl", format="fp8-scaled", scale_names="header", scale_rank1=True)

    # ------------------------------------------------------------------------------------------------------- GGUF
    def test_gguf_of_flux_by_a_repackager(self):
        self.file("flux-dev", layout="bfl", format="gguf-mix", arch="pig", quantise_all=True, small="BF16")

    def test_gguf_of_stable_diffusion_as_c_writes_it(self):
        self.file("sd35", layout="bfl", format="gguf-Q4_K", unit_dims="drop", arch="absent", reshape=True)

    def test_gguf_of_auraflow(self):
        self.file("auraflow", layout="bfl", format="gguf-Q5_K", base="F16")

    def test_a_t5_of_llama_cpp(self):
        self.file("flux-schnell", layout="llamacpp", format="gguf-mix", component="text_encoder_2")

    # -------------------------------------------------------------------------------------------------------- how
    def file(self, variant, **how):
        """The file over a base, or beside a folder where it is an encoder; diffusers draws from its decoded numbers."""
        call = Call(steps=20 if variant == "auraflow" else 2, guidance=None if variant == "flux-schnell" else 3.5)
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(folder, variant, call)
            weights, decoded = Path(folder, variant, "pipeline"), Path(folder, "decoded")
            file = Path(folder, "weights.file")
            component = how.get("component", "transformer")
            values = make_weights.write(weights, file, **how)
            shutil.copytree(weights, decoded)
            self.store(decoded, component, values)
            pipe = DiffusionPipeline.from_pretrained(decoded, torch_dtype=torch.float32)
            asked = {"prompt": call.prompt, "num_images_per_prompt": call.images, "num_inference_steps": call.steps, "width": call.width, "height": call.height,
                     "max_sequence_length": call.max_sequence_length}
            asked["guidance_scale"] = 0.0 if call.guidance is None else call.guidance
            if variant in ("sd35", "auraflow"):
                asked["negative_prompt"] = ""
            reference = make_reference.record(pipe, call.seed, asked).tensors
            if component == "transformer":
                flags = ["--weights", file, "--weights-base", weights]
            else:
                flags = ["--weights", weights, "--component", f"{component}={file}"]
            drawn = draw(folder, ENDPOINTS[variant], call, *flags, "--dtype", "float32")
            self.compare(call, reference, *drawn)

    def store(self, folder, component, values):
        """Puts decoded values into the files of a diffusers folder."""
        parts = {}
        for name, value in values.items():
            part, _, rest = name.partition("/")
            part, rest = (part, rest) if rest else (component, name)
            parts.setdefault(part, {})[rest] = value
        for part, tensors in parts.items():
            files = list(Path(folder, part).glob("*.safetensors"))
            self.assertEqual(len(files), 1, part)
            # matrices that were convolutions of one pixel have the shapes of matrices there
            shapes = {name: value.shape for name, value in load_file(files[0]).items()}
            tensors = {name: value.reshape(shapes[name]) for name, value in tensors.items() if name in shapes}
            self.assertEqual(tensors.keys(), shapes.keys(), part)
            save_file(tensors, files[0], metadata={"format": "pt"})


if __name__ == "__main__":
    unittest.main(verbosity=0)
