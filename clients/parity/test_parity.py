#!/usr/bin/env python3
"""Scumble against diffusers: the same checkpoint, seed and parameters give the same picture. F-Lite and OmniGen2, which
diffusers has not, are compared with the computations in f_lite.py and omnigen2.py, and tokenizers that sentencepiece made with
sentencepiece.

Every case makes a tiny random checkpoint, lets diffusers (float32, CPU, generator on the CPU) and the `scumble` binary
draw from it, and compares everything on the way: token ids, noise and schedule bit for bit, embeddings, the first step
and every step's latents within rounding, pictures within one level. The starter model is compared in the same way.

    python test_parity.py            # all cases
    python test_parity.py -k tiles   # some

SCUMBLE_BIN names another binary than target/release/scumble, and IDS_BIN another than target/release/examples/ids.
"""

import copy
import json
import os
import subprocess
import tempfile
import unittest
import unittest.mock
from dataclasses import dataclass, field, replace
from pathlib import Path

# Read when the libraries are imported: nothing is fetched, and only results are printed.
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error",
               "TRANSFORMERS_VERBOSITY": "error"}

import numpy as np
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import load_file

import f_lite
import hidream
import make_reference
import omnigen2
import pieces
import safety
import small

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SCUMBLE_BIN", ROOT / "target/release/scumble")
# Largest difference allowed, as a share of the largest magnitude of a tensor. Seen: 2e-6 in most calls, 1.5e-5 where
# pictures are large: there torch's own convolutions are 1.3e-5 away from a float64 decoder, Scumble's 8e-7.
TOLERANCE = 1e-4
# Levels that a byte of a picture may be off by. Seen: one byte in 1,500 or fewer is off by 1, none by 2.
LEVELS = 1
EXACT = ("noise.first_draw", "schedule.sigmas", "schedule.timesteps", "prompt.tokenizer.input_ids",
         "prompt.tokenizer_2.input_ids", "prompt.tokenizer_3.input_ids", "negative.tokenizer.input_ids",
         "negative.tokenizer_2.input_ids", "negative.tokenizer_3.input_ids", "step0.transformer.in.txt_ids",
         "step0.transformer.in.img_ids", "prompt.tokenizer_4.input_ids", "negative.tokenizer_4.input_ids",
         "prompt.tokenizer_4.attention_mask", "negative.tokenizer_4.attention_mask", "noise.posterior0",
         "noise.posterior1", "noise.posterior2")
SD35 = "fal-ai/stable-diffusion-v35-large"
# How a call is written on the command line.
FIELDS = {
    "num_images": lambda call: call.images,
    "num_inference_steps": lambda call: call.steps,
    "guidance_scale": lambda call: call.guidance,
    "image_size": lambda call: {"width": call.width, "height": call.height},
    "max_sequence_length": lambda call: call.max_sequence_length,
    "negative_prompt": lambda call: call.negative,
}
# What only one of the two has: the picture before it is rounded to bytes, masks that a pipeline ignores, an early layer of
# FLUX's CLIP, what was given, the latents of a picture of which a fill of full strength takes nothing, what a ControlNet does while it is off.
NOT_TRACED = {"image.float_nhwc"}
NOT_TRACED_ENDS = ("attention_mask", "text_encoder.penultimate")
NOT_TRACED_STARTS = ("input.ip_", "ip_adapter.", "vae.encode.0.", "step0.controlnet.")


@dataclass
class Call:
    """One picture, or several from one draw."""

    prompt: str = make_reference.PROMPT
    seed: int = 1234
    steps: int = 4
    width: int = 96
    height: int = 64
    images: int = 1
    guidance: float | None = None
    negative: str | None = None
    max_sequence_length: int | None = 48
    # entries of make_reference.TINY: other weights, other architectures
    tiny: dict = field(default_factory=dict)


# What the endpoint does when nothing but the prompt is given.
STARTER = Call(steps=16, width=256, height=256, guidance=2.0, max_sequence_length=None)


class Parity(unittest.TestCase):
    """Each line is a checkpoint and a call."""

    tensors = pictures = 0
    worst = 0.0

    @classmethod
    def tearDownClass(cls):
        print(f"\n{cls.tensors} tensors and {cls.pictures} pictures compared; latents and embeddings at most "
              f"{cls.worst:.1e} of their magnitude apart")

    # ---------------------------------------------------------------------------------------- FLUX.1 [schnell]
    def test_schnell_as_it_is_used(self):
        self.flux("schnell", Call())

    def test_schnell_in_one_step_of_the_smallest_size(self):
        self.flux("schnell", Call(seed=0, steps=1, width=16, height=16, tiny={"weights.tag": "one"}))

    def test_schnell_with_the_largest_seed_and_many_steps(self):
        self.flux("schnell", Call(seed=2**64 - 1, steps=12, tiny={"weights.tag": "two"}))

    def test_schnell_draws_four_pictures_from_one_draw(self):
        self.flux("schnell", Call(seed=7, images=4, width=48, height=80))

    def test_schnell_rounds_sizes_down(self):
        self.flux("schnell", Call(seed=8, steps=2, width=125, height=79))

    def test_schnell_with_more_text_than_tokens(self):
        self.flux("schnell", Call(prompt="the red stars of the cat in the hat " * 20, max_sequence_length=24, seed=9))

    def test_schnell_with_512_tokens_and_a_square(self):
        self.flux("schnell", Call(seed=10, steps=2, width=512, height=512, max_sequence_length=512))

    def test_schnell_decodes_large_pictures_in_tiles_as_enable_tiling_does(self):
        # five times four of them, the last ones narrow
        tiny = {"call.tiling": True, "vae.sample_size": 512, "flux.num_layers": 1, "flux.num_single_layers": 0}
        self.flux("schnell", Call(seed=11, steps=1, width=1552, height=1536, tiny=tiny))

    # -------------------------------------------------------------------------------------------- FLUX.1 [dev]
    def test_dev_as_it_is_used(self):
        self.flux("dev", Call(steps=28, guidance=3.5))

    def test_dev_shifts_its_schedule_with_the_size(self):
        self.flux("dev", Call(seed=2, steps=8, width=256, height=384, guidance=7.25, images=2))

    def test_dev_without_words(self):
        self.flux("dev", Call(prompt="", seed=3, guidance=1.0))

    def test_dev_with_words_that_no_vocabulary_has(self):
        # no line breaks or ligatures: transformers 5 takes normalizers from a T5 tokenizer.json only where they are
        # precompiled, as published ones are; this one has NFKC, which Scumble applies and transformers does not
        self.flux("dev", Call(prompt="  Ünïcödé 猫, 3×4 = 12! 🦊  a Cat's  hello  ", seed=4, guidance=3.5))

    def test_dev_with_another_architecture(self):
        tiny = {"weights.tag": "deep", "flux.num_layers": 3, "flux.num_single_layers": 1, "flux.num_attention_heads": 6,
                "flux.attention_head_dim": 24, "flux.axes_dims_rope": [8, 8, 8], "flux_t5.num_layers": 3,
                "flux_t5.d_model": 64, "flux_clip.hidden": 48, "flux_clip.layers": 3,
                "vae.block_out_channels": [8, 16, 24, 40], "vae.layers_per_block": 2}
        self.flux("dev", Call(seed=5, steps=6, guidance=4.5, tiny=tiny))

    # ------------------------------------------------------------------------------------- FLUX.1 from a picture
    def test_image_to_image(self):
        for strength, steps in [(0.6, 5), (0.95, 4), (1.0, 3), (0.1, 6)]:
            tiny = {"call.strength": strength}
            fields = {"image_url": "picture.png", "strength": strength}
            call = Call(seed=21 + steps, steps=steps, guidance=2.5, images=2, width=80, height=112, tiny=tiny)
            self.from_tiny("flux-img2img", "fal-ai/flux-lora/image-to-image", call, fields)

    def test_fill(self):
        fields = {"image_url": "picture.png", "mask_url": "mask.png", "paste_back": False, "resize_to_original": False}
        self.from_tiny("flux-fill", "fal-ai/flux-lora-fill", Call(seed=22, steps=3, guidance=30.0), fields)
        call = Call(seed=23, steps=6, guidance=7.0, width=64, height=96, images=2)
        self.from_tiny("flux-fill", "fal-ai/flux-lora-fill", call, fields)

    # ---------------------------------------------------------------------------------------------------- LoRAs
    def test_loras_on_flux(self):
        several = {"call.loras": [[4, 2.0, 0.8], [8, None, 0.5], [1, 7.0, 1.25]]}
        for seed, tiny in enumerate([{}, several, {"call.loras": [[16, 1.0, 3.0]]}], start=31):
            self.from_tiny("flux-dev-lora", "fal-ai/flux-lora", Call(seed=seed, guidance=3.5, tiny=positive(tiny)), loras)

    def test_loras_on_fill(self):
        fields = {"image_url": "picture.png", "mask_url": "mask.png", "paste_back": False, "resize_to_original": False}
        call = Call(seed=34, steps=2, guidance=30.0, tiny=positive({}))
        self.from_tiny("flux-fill-lora", "fal-ai/flux-lora-fill", call, lambda folder: fields | loras(folder))

    def test_loras_on_sd35(self):
        # diffusers reads no alphas here
        call = Call(seed=35, guidance=4.5, negative="blurry", tiny={"call.loras": [[4, None, 0.8], [8, None, 0.5]]})
        self.from_tiny("sd35-lora", SD35, call, loras)

    # -------------------------------------------------------------------------------------- Stable Diffusion 3.5
    def test_sd35_as_it_is_used(self):
        self.from_tiny("sd35", SD35, Call(steps=28, guidance=3.5, negative="blurry, low quality"))

    def test_sd35_without_guidance_and_with_several_pictures(self):
        self.from_tiny("sd35", SD35, Call(seed=41, steps=3, guidance=1.0, negative="", width=48, height=80, images=3))

    def test_sd35_with_words_that_no_vocabulary_has(self):
        call = Call(prompt="Ünïcödé 猫 🦊  a Cat's", negative="the red stars of the cat in the hat " * 20, seed=42,
                    guidance=20.0)
        self.from_tiny("sd35", SD35, call)

    def test_sd35_with_a_controlnet(self):
        for seed, (scale, start, end) in enumerate([(0.7, 0.0, 0.5), (2.0, 0.3, 1.0), (1.0, 0.0, 1.0)], start=43):
            net = {"path": "controlnet", "control_image_url": "picture.png", "conditioning_scale": scale,
                   "start_percentage": start, "end_percentage": end}
            call = Call(seed=seed, steps=5, guidance=4.5, negative="blurry", images=2,
                        tiny={"call.controlnet": [scale, start, end]})
            self.from_tiny("sd35-controlnet", SD35, call, lambda folder: {
                "controlnet": {**net, "path": str(folder / net["path"]), "control_image_url": str(folder / "picture.png")}})

    def test_sd35_with_an_ip_adapter(self):
        for seed, scale in enumerate([0.6, 1.5], start=46):
            call = Call(seed=seed, guidance=4.5, negative="blurry", tiny={"call.ip_adapter_scale": scale})
            self.from_tiny("sd35-ip-adapter", SD35, call, lambda folder: {"ip_adapter": {
                "path": str(folder / "ip_adapter.safetensors"), "image_encoder_path": str(folder / "image_encoder"),
                "image_url": str(folder / "picture.png"), "scale": scale}})

    # -------------------------------------------------------------------------------------------------- AuraFlow
    def test_auraflow_as_it_is_used(self):
        self.from_tiny("auraflow", "fal-ai/aura-flow", Call(steps=50, guidance=3.5))

    def test_auraflow_to_the_edges_of_its_positions(self):
        call = Call(seed=51, steps=20, guidance=6.0, width=192, height=16, images=2)
        self.from_tiny("auraflow", "fal-ai/aura-flow", call)

    # ------------------------------------------------------------------------------------------------- HiDream-I1
    def test_hidream_full_as_it_is_used(self):
        self.hidream("full", Call(prompt=small.PROMPT, negative=small.NEGATIVE, steps=50, guidance=5.0, width=128, height=128))

    def test_hidream_dev_and_fast_as_they_are_used(self):
        self.hidream("dev", Call(prompt=small.PROMPT, seed=71, steps=28, width=128, height=128))
        self.hidream("fast", Call(prompt=small.PROMPT, seed=2**64 - 1, steps=16, width=128, height=128))

    def test_hidream_reads_sentencepieces_own_file(self):
        call = Call(prompt=small.PROMPT, seed=82, steps=2, width=64, height=64)
        self.hidream("fast", call, without="tokenizer_3/tokenizer.json")

    def test_hidream_draws_several_pictures_of_other_shapes(self):
        self.hidream("full", Call(prompt=small.PROMPT, negative="", seed=72, guidance=3.0, width=192, height=80, images=3))
        self.hidream("full", Call(prompt="a dog", seed=73, steps=1, guidance=1.0, width=16, height=16))
        self.hidream("fast", Call(prompt="a dog", seed=74, steps=3, width=64, height=240, images=2))
        larger = {"max_resolution": [28, 28]}
        self.hidream("dev", Call(prompt="a dog", seed=75, steps=2, width=224, height=208, tiny={"sizes": larger}))

    def test_hidream_with_words_that_no_vocabulary_has(self):
        odd, long = "  Ünïcödé 猫, 3×4 = 12! 🦊  a Cat's\thello  ", "the red fox of the artist in the snow " * 60
        for seed, (prompt, negative) in enumerate([("", ""), (odd, long), (long, odd), (long, "")], start=76):
            call = Call(prompt=prompt, negative=negative, seed=seed, steps=2, guidance=5.0, width=96, height=160)
            self.hidream("full", call)

    def test_hidream_with_other_architectures(self):
        deep = {"num_layers": 1, "num_single_layers": 3, "num_attention_heads": 3, "num_routed_experts": 6,
                "num_activated_experts": 3, "attention_head_dim": 24, "axes_dims_rope": [8, 8, 8],
                "llama_layers": [4, 0, 2, 3], "caption_channels": [32, 48], "text_emb_dim": 56}
        texts = {"clip_l": (32, 48, 3, 4, 248, 24), "clip_g": (24, 64, 2, 2, 218, 32), "t5": (32, 8, 64, 3, 4),
                 "llama": (48, 80, 5, 6, 3)}
        call = Call(prompt=small.PROMPT, negative="a dog", seed=81, steps=6, guidance=7.5, width=112, height=128)
        self.hidream("full", replace(call, tiny={"sizes": deep, "texts": texts, "tag": "deep."}))
        one = {"num_routed_experts": 2, "num_activated_experts": 1}
        self.hidream("dev", replace(call, negative=None, guidance=None, tiny={"sizes": one, "tag": "one."}))
        all_of_them = {"num_routed_experts": 3, "num_activated_experts": 3}
        self.hidream("fast", replace(call, negative=None, guidance=None, tiny={"sizes": all_of_them, "tag": "all."}))

    # ----------------------------------------------------------------------------------------------------- F-Lite
    def test_f_lite_as_it_is_used(self):
        call = Call(prompt=small.PROMPT, steps=28, guidance=3.5)
        self.f_lite("standard", call)
        self.f_lite("texture", replace(call, seed=91, negative=small.NEGATIVE, tiny={"tag": "texture."}))

    def test_f_lite_with_other_sizes_texts_and_architectures(self):
        odd, long = "  Ünïcödé 猫, 3×4 = 12! 🦊  a Cat's hello  ", "the red fox of the artist in the snow " * 60
        self.f_lite("standard", Call(prompt=odd, negative=long, seed=92, guidance=6.0, width=208, height=48, images=2))
        self.f_lite("standard", Call(prompt="", seed=93, steps=1, guidance=1.0, width=16, height=16))
        self.f_lite("standard", Call(prompt=long, negative=odd, seed=94, steps=2, guidance=20.0, width=64, height=256))
        wide = {"hidden_size": 96, "num_heads": 4, "depth": 2, "cross_attn_input_size": 32, "train_bias_and_rms": True,
                "mlp_ratio": 3.0, "rope_base": 500}
        tiny = {"sizes": wide, "t5": (32, 8, 48, 10, 4), "tag": "wide."}
        self.f_lite("standard", Call(prompt="a dog", seed=95, steps=5, guidance=4.0, images=3, tiny=tiny))
        self.f_lite("standard", Call(prompt="a dog", seed=96, steps=2, guidance=4.0, tiny={"sizes": {"residual_v": False}}))

    # --------------------------------------------------------------------------------------------------- OmniGen2
    def test_omnigen2_as_it_is_used(self):
        self.omnigen2(Call(prompt=small.PROMPT, steps=50))
        self.omnigen2(Call(prompt=small.PROMPT, seed=2**64 - 1, steps=50), scheduler="dpmsolver")
        self.omnigen2(Call(prompt="put image 1 into the snow", seed=101, steps=50), given=[painted(93, 50)])

    def test_omnigen2_looks_at_pictures_of_all_kinds(self):
        call = Call(prompt="the fox of image 1 beside the dog of image 2", seed=102, steps=20, width=80, height=96)
        clear, turned = painted(70, 33, "RGBA"), (painted(41, 64), 6)
        self.omnigen2(call, given=[clear])
        self.omnigen2(replace(call, seed=103, images=2), given=[turned, painted(100, 17, "L")], scheduler="dpmsolver")
        self.omnigen2(replace(call, seed=104, width=50, height=75), given=[painted(20, 20, "LA"), clear, painted(64, 48, "P")],
                      image_guidance_scale=3.0)
        # no side stays longer than 1024, so the other one is reduced as well
        self.omnigen2(replace(call, seed=105), given=[painted(1500, 30)], image_guidance_scale=1.3)

    def test_omnigen2_is_led_as_far_and_as_long_as_it_is_told(self):
        call, given = Call(prompt=small.PROMPT, negative=small.NEGATIVE, seed=106, steps=20), [painted(40, 50), painted(50, 40)]
        ways = [(5.0, 2.0, 0.0, 0.6, "dpmsolver"), (8.0, 1.0, 0.25, 0.5, "euler"), (1.0, 3.0, 0.0, 1.0, "euler"),
                (2.5, 1.7, 0.35, 1.0, "dpmsolver"), (5.0, 2.0, 0.9, 0.1, "euler"), (1.01, 1.01, 0.55, 0.55, "dpmsolver")]
        for seed, (text, pictures, start, end, scheduler) in enumerate(ways, start=106):
            self.omnigen2(replace(call, seed=seed), given=given[:seed % 3], text_guidance_scale=text, cfg_range_start=start,
                          image_guidance_scale=pictures, cfg_range_end=end, scheduler=scheduler)

    def test_omnigen2_enlarges_what_is_no_multiple_of_16(self):
        self.omnigen2(Call(prompt="a dog", seed=113, steps=20, width=101, height=35, images=3))
        self.omnigen2(Call(prompt="a dog", seed=114, steps=23, width=31, height=250), scheduler="dpmsolver")
        self.omnigen2(Call(prompt="a dog", seed=115, steps=21, width=16, height=16))

    def test_omnigen2_enlarges_what_has_more_than_a_million_pixels(self):
        flat = {"num_layers": 1, "num_refiner_layers": 0, "num_attention_heads": 2, "num_kv_heads": 1, "hidden_size": 16}
        call = Call(prompt="a dog", seed=116, steps=20, width=4096, height=272, tiny={"sizes": flat, "tag": "flat."})
        self.omnigen2(call, text_guidance_scale=1.0)

    def test_omnigen2_with_words_that_no_vocabulary_has(self):
        odd, long = "  Ünïcödé e\u0301 猫, 3×4 = 12! 🦊\n\n a Cat's\thello  ", "the red fox of the artist in the snow " * 60
        inside = "a dog<|im_end|>\n<|im_start|>system\n<|image_pad|><|im_end"
        for seed, (prompt, negative) in enumerate([("", ""), (odd, long), (long, odd), (inside, "")], start=117):
            self.omnigen2(Call(prompt=prompt, negative=negative, seed=seed, steps=20, width=48, height=32))

    def test_omnigen2_with_other_architectures(self):
        deep = {"hidden_size": 72, "num_layers": 2, "num_refiner_layers": 3, "num_attention_heads": 3, "num_kv_heads": 3,
                "axes_dim_rope": [8, 12, 4], "ffn_dim_multiplier": 0.75, "multiple_of": 32, "norm_eps": 1e-3,
                "text_feat_dim": 48, "timestep_scale": 500.0}
        call = Call(prompt=small.PROMPT, negative="a dog", seed=121, steps=20)
        given = [painted(48, 64), painted(64, 32)]
        self.omnigen2(replace(call, tiny={"sizes": deep, "qwen": (48, 96, 4, 6, 3, [2, 1, 1]), "tag": "deep."}), given=given)
        alone = {"num_refiner_layers": 1, "num_kv_heads": 1, "out_channels": 16}
        self.omnigen2(replace(call, tiny={"sizes": alone, "shifts": False, "tag": "alone."}), given=given, scheduler="dpmsolver")

    # ---------------------------------------------------------------------------------------------------- checkers
    def test_checkers_compute_what_diffusers_and_transformers_do(self):
        call = Call(steps=1, width=112, height=80, images=2)
        for kind in safety.KINDS:
            for tag in ("", "other."):
                with tempfile.TemporaryDirectory() as folder:
                    self.checker(Path(folder), kind, replace(call, seed=101 + len(tag)), tag)

    # ------------------------------------------------------------------------------------------------- tokenizers
    def test_sentencepiece_files_give_the_ids_of_sentencepiece(self):
        with tempfile.TemporaryDirectory() as folder:
            compared = pieces.compare(Path(folder), self)
        print(f"sentencepiece: {compared} texts, all ids the same")

    # ---------------------------------------------------------------------------------------------- acceleration
    def test_steps_are_taken_over_as_first_block_caching_does(self):
        last = []
        for word, threshold in [("none", None), ("regular", 0.05), ("high", 0.1)]:
            # random networks jump from step to step, as trained ones do not
            tiny = {"call.first_block": threshold, "weights.calm": 0.02}
            trace = self.from_tiny("flux-dev", "fal-ai/flux/dev", Call(seed=61, steps=20, guidance=3.5, tiny=tiny),
                                   {"acceleration": word})
            last.append(trace["step19.latents"])
        self.assertFalse(torch.equal(last[0], last[1]) or torch.equal(last[1], last[2]), "steps were taken over")

    # -------------------------------------------------------------------------------------------- scumble/starter
    def test_starter_as_it_is_used(self):
        self.starter(replace(STARTER, prompt="two small yellow stars on a purple background", seed=1))

    def test_starter_with_other_prompts(self):
        for seed, prompt in enumerate(["a red circle", "three blue squares on a white background", ""], start=2**31):
            self.starter(replace(STARTER, prompt=prompt, seed=seed))

    def test_starter_with_several_pictures_of_another_size(self):
        several = replace(STARTER, steps=5, width=128, height=192, images=3, guidance=1.5)
        self.starter(replace(several, prompt="a green triangle"))

    # ------------------------------------------------------------------------------------------------------- how
    def checker(self, folder, kind, call, tag):
        """What a checker makes of the pictures that Scumble has drawn, in Scumble and elsewhere."""
        safety.write(folder / kind, kind, tag)
        make_checkpoint(folder, "flux-schnell", call)
        settings = folder / "scumble.toml"
        settings.write_text(f'[safety]\nchecker = "{kind}"\nweights = "{folder / kind}"\n', encoding="utf-8")
        trace, pictures = draw(folder, "fal-ai/flux/schnell", call, "--weights", folder / "flux-schnell" / "pipeline",
                               "--config", settings)
        compute = safety.compvis if kind == "compvis" else safety.falconsai
        for number, picture in enumerate(pictures):
            for name, expected in compute(folder / kind, Image.fromarray(picture)).items():
                if name == "flagged":
                    continue
                got = trace[f"check.{number}.{name}"].double()
                worst, largest = (got - expected.double()).abs().max().item(), expected.abs().max().item()
                # what is rounded to thousandths may fall to the other side
                allowed = 1.001e-3 if name.endswith("scores") else TOLERANCE * largest
                self.assertLessEqual(worst, allowed, f"{kind} {name} of picture {number}")
                if not name.endswith("scores"):
                    Parity.worst = max(Parity.worst, worst / largest)
                Parity.tensors += 1

    def flux(self, variant, call):
        """diffusers and Scumble draw from the same tiny checkpoint."""
        with tempfile.TemporaryDirectory() as folder:
            reference = make_checkpoint(folder, f"flux-{variant}", call)
            weights = Path(folder, f"flux-{variant}", "pipeline")
            drawn = draw(folder, f"fal-ai/flux/{variant}", call, "--weights", weights)
            self.compare(call, reference, *drawn)

    def from_tiny(self, variant, endpoint, call, fields=None):
        """The same with more fields; names of files in them are those of the checkpoint's folder."""
        with tempfile.TemporaryDirectory() as folder:
            reference = make_checkpoint(folder, variant, call)
            made = Path(folder, variant)
            fields = fields(made) if callable(fields) else dict(fields or {})
            for name, value in fields.items():
                if isinstance(value, str) and (made / value).exists():
                    fields[name] = str(made / value)
            trace, pictures = draw(folder, endpoint, call, "--weights", made / "pipeline", more=fields)
            self.compare(call, reference, trace, pictures)
            return trace

    def hidream(self, variant, call, without=None):
        """The same for HiDream-I1, whose texts are as long as its endpoints have them. Scumble has to do `without` a file."""
        self.own(hidream, f"fal-ai/hidream-i1-{variant}", call, variant, without=without)

    def f_lite(self, endpoint, call):
        """The same for F-Lite."""
        self.own(f_lite, f"fal-ai/f-lite/{endpoint}", call)

    def omnigen2(self, call, given=(), **fields):
        """The same for OmniGen2, which is `given` pictures, or pairs of one and what its file says of it."""
        self.own(omnigen2, "fal-ai/omnigen-v2", call, given=given, fields=fields)

    def own(self, family, endpoint, call, *variant, without=None, given=(), fields=None):
        """A module of its own writes the checkpoint and knows what is right."""
        call, fields = replace(call, max_sequence_length=None), dict(fields or {})
        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "pipeline")
            family.write(root, *variant, **call.tiny)
            if given:
                fields["input_image_urls"] = [str(Path(folder, f"given-{i}.png")) for i in range(len(given))]
            for path, picture in zip(fields.get("input_image_urls", ()), given):
                save(picture, path)
            reference = family.record(root, call, **fields)
            if without:
                (root / without).unlink()
            self.compare(call, reference, *draw(folder, endpoint, call, "--weights", root, more=fields))

    def starter(self, call):
        """diffusers draws from the starter's files, Scumble from the same ones inside the binary, as users do."""
        # stored in float16, computed with in float32 by both
        pipe = FluxPipeline.from_pretrained(ROOT / "starter/weights", torch_dtype=torch.float32)
        reference = make_reference.record(pipe, call.seed, {
            "prompt": call.prompt, "num_images_per_prompt": call.images, "num_inference_steps": call.steps,
            # the starter's guidance is the true one, against the empty prompt
            "guidance_scale": 1.0, "true_cfg_scale": call.guidance, "negative_prompt": "", "width": call.width, "height": call.height,
            "max_sequence_length": pipe.tokenizer_2.model_max_length}).tensors
        with tempfile.TemporaryDirectory() as folder:
            self.compare(call, reference, *draw(folder, "scumble/starter", call, assumed=STARTER))

    def compare(self, call, reference, trace, pictures):
        missing = {name for name in reference.keys() - trace.keys() - NOT_TRACED
                   if not name.endswith(NOT_TRACED_ENDS) and not name.startswith(NOT_TRACED_STARTS)}
        self.assertFalse(missing, "not in the trace")
        worst = 0.0, "nothing"
        for name in sorted(reference.keys() & trace.keys()):
            expected, got = reference[name], trace[name]
            if "step0.controlnet.in.controlnet_cond" in reference and expected.shape[1:] == got.shape[1:]:
                expected = expected[:len(got)]  # the control picture is repeated there, and every row is the same
            self.assertEqual((expected.shape, expected.dtype), (got.shape, got.dtype), name)
            if name in EXACT:
                self.assertTrue(torch.equal(expected, got), f"{name} is not the same bit for bit")
            elif name != "image.uint8_nhwc":
                apart = ((expected.double() - got.double()).abs().max() / expected.abs().max()).item()
                self.assertLessEqual(apart, TOLERANCE, name)
                worst = max(worst, (apart, name))
        np.testing.assert_array_equal(pictures, trace["image.uint8_nhwc"].numpy(), "the file is what was computed")
        levels = np.abs(pictures.astype(int) - reference["image.uint8_nhwc"].numpy().astype(int))
        self.assertLessEqual(levels.max(), LEVELS, "the picture")

        exact = sum(name in EXACT for name in reference)
        print(f"{self.id().rpartition('.')[2]}, seed {call.seed}: {exact} tensors bit for bit, "
              f"{len(reference) - exact - 2} within {worst[0]:.1e} ({worst[1]}), "
              f"{np.count_nonzero(levels)} of {levels.size} bytes off by 1")
        Parity.tensors += len(reference) - 1
        Parity.pictures += len(pictures)
        Parity.worst = max(Parity.worst, worst[0])


def make_checkpoint(folder, variant, call):
    """A tiny checkpoint in `folder`, and what diffusers computed with it."""
    tiny = {"call.prompt": call.prompt, "call.num_images": call.images, "call.guidance_scale": call.guidance,
            "call.negative_prompt": call.negative or ""}
    tiny |= call.tiny
    words = ["--only", variant, "--seed", call.seed, "--steps", call.steps, "--height", call.height,
             "--width", call.width, "--max-sequence-length", call.max_sequence_length]
    for path, value in tiny.items():
        words += ["--set", f"{path}={json.dumps(value)}"]
    with unittest.mock.patch.dict(make_reference.TINY, copy.deepcopy(make_reference.TINY)):
        make_reference.main([str(folder), *map(str, words)])
    return load_file(Path(folder, variant, "reference.safetensors"))


def positive(tiny):
    """Strengths of LoRAs as endpoints take them, 0 to 4."""
    return {"call.loras": [[4, 2.0, 0.8], [8, None, 0.5]]} | tiny


def loras(folder):
    """The field for the LoRAs that were made in a folder."""
    made = json.loads((folder / "reference.json").read_text())
    files = zip(made["loras"], made["adapter_weights"])
    return {"loras": [{"path": str(folder / lora["file"]), "scale": scale} for lora, scale in files]}


def painted(width, height, mode="RGB"):
    """A picture without flat parts, whose transparency, where it has any, is none like its colours."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [127.5 + 127.5 * np.sin((x * (3 + i) + y * (2 + 3 * i)) / 17 + i) for i in range(4)]
    picture = Image.fromarray(np.stack(waves, -1).round().astype(np.uint8), "RGBA")
    return picture.convert("RGB").convert(mode) if mode in ("L", "P") else picture.convert(mode)


def save(picture, path):
    """A picture, or one with the way in which its file says that it lies, as Exif counts ways."""
    picture, way = picture if isinstance(picture, tuple) else (picture, 1)
    exif = Image.Exif()
    exif[0x0112] = way
    picture.save(path, exif=exif)


def draw(folder, endpoint, call, *flags, assumed=None, more=None):
    """What `scumble run` computes, and its pictures as one array. Fields that are as `assumed` are not mentioned."""
    words = []
    for name, get in FIELDS.items():
        value = get(call)
        if value is not None and (assumed is None or value != get(assumed)):
            words += ["-i", f"{name}={json.dumps(value)}"]
    for name, value in (more or {}).items():
        words += ["-i", f"{name}={json.dumps(value)}"]
    trace, picture = Path(folder, "trace.safetensors"), Path(folder, "picture.png")
    words += [*flags, "--seed", str(call.seed), "--trace", trace, "-o", picture]
    done = subprocess.run([BINARY, "run", endpoint, call.prompt, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, done.args))}\nended with {done.returncode}:\n{done.stderr}")
    return load_file(trace), np.stack([np.asarray(Image.open(path)) for path in done.stdout.splitlines()])


if __name__ == "__main__":
    unittest.main(verbosity=0)
