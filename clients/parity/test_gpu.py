#!/usr/bin/env python3
"""gpu.py in its tiny form on a processor: all of it runs, what is lacking is said, and what is wrong is seen.

    python test_gpu.py

A card is stood in for: a program that answers as nvidia-smi does, and one that hands Scumble's work on `cuda:0` to the processor. SCUMBLE_BIN
names another binary than target/release/scumble.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

import gpu_card
import gpu_pictures
import gpu_weights
from bench_programs import SCUMBLE, Case

GPU = Path(__file__).resolve().parent / "gpu.py"
PAGE = "# Speed\n\n<!-- measured: card -->\n<!-- end: card -->\n\nbehind it\n"
ABSENT = [name for name in ("torch", "diffusers", "transformers", "PIL") if not importlib.util.find_spec(name)]
with_torch = unittest.skipIf(ABSENT, f"SKIPPED: {', '.join(ABSENT)} not installed: nothing is held against diffusers")

# the card's memory: what is taken before, then more, then nothing new until it is ended
SMI = """#!/bin/sh
case "$*" in
*-lms*) echo 1000; echo 3500; echo 2000; exec tail -f /dev/null ;;
*"-i 0"*) echo "Stand-in, 580.1, 9.0, 81920, 80000, 0, 30, 700.00" ;;
*) echo "No devices were found"; exit 6 ;;
esac
"""
CARD = """#!{python}
import os, sys
given = sys.argv[1:]
if "cuda:0" in given:
    given = ["cpu" if word == "cuda:0" else word for word in given]
    if "--seed" in given:
        given[given.index("--seed") + 1] = "{seed}"
os.execv("{scumble}", ["scumble", *given])
"""


class Gpu(unittest.TestCase):
    def setUp(self):
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)
        self.page = self.folder / "page.md"
        self.page.write_text(PAGE)

    def program(self, name, text):
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def gpu(self, *flags, torch=False, env=None):
        """What it said, with its figures; without torch nothing but Python's own library is there."""
        figures = self.folder / "all.json"
        command = [sys.executable, *([] if torch else ["-S"]), GPU, "--folder", self.folder / "kept", "--page", self.page]
        done = subprocess.run([*command, "--json", figures, *flags], capture_output=True, text=True, env={**os.environ, **(env or {})})
        return done, json.loads(figures.read_text()) if figures.exists() else None

    def card(self, seed=1):
        """An environment with a stand-in for a card."""
        self.program("nvidia-smi", SMI)
        scumble = self.program("scumble", CARD.format(python=sys.executable, seed=seed, scumble=SCUMBLE))
        return {"PATH": f"{scumble.parent}:{os.environ['PATH']}", "SCUMBLE_BIN": str(scumble), "CUDA_VISIBLE_DEVICES": ""}

    @with_torch
    def test_all_of_it_runs_on_a_processor(self):
        done, found = self.gpu("--device", "cpu", "--tiny", "--runs", "1", torch=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(found["lacks"], [])
        for dtype in gpu_pictures.LIMITS:
            self.assertEqual(found["parts"]["pictures"][dtype]["mean"], 0)
        speed = found["parts"]["speed"]
        self.assertEqual(speed["failed"], {})
        for name in ("scumble", "diffusers", "compiled"):
            (run,) = speed["runs"][name]
            self.assertEqual({picture["steps"] for picture in run["pictures"]}, {2, 4}, name)
            for number in [*run["load"], *(value for picture in run["pictures"] for value in picture.values())]:
                self.assertGreater(number, 0, name)
            self.assertGreater(run["first"]["picture"], 0)
        # the same picture by all of them
        for apart in speed["apart"].values():
            self.assertLess(apart["mean"], 0.01)
        text = self.page.read_text()
        self.assertRegex(text, r"card -->\n\n\| seconds \| Scumble \| diffusers \| ratio \|")
        self.assertIn("| picture, 4 steps | ", text)
        self.assertTrue(text.endswith("<!-- end: card -->\n\nbehind it\n"))

    def test_a_card_is_measured_without_torch(self):
        done, found = self.gpu("--device", "cuda:0", "--tiny", "--runs", "1", env=self.card())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertTrue(done.stdout.startswith("LACKS: torch, diffusers, transformers, safetensors"), done.stdout)
        self.assertEqual(found["card"]["name"], "Stand-in")
        speed = found["parts"]["speed"]
        self.assertEqual(speed["runs"]["diffusers"], [])
        self.assertEqual(speed["runs"]["scumble"][0]["card_peak"], 2500 * gpu_card.MIB)
        text = self.page.read_text()
        self.assertIn("| peak memory of the card | 2621 MB | not measured |  | not measured |  |", text)
        self.assertIn("Stand-in (compute capability 9.0, driver 580.1)", text)

    def test_another_picture_is_wrong(self):
        done, found = self.gpu("--device", "cuda:0", "--tiny", "--only", "pictures", env=self.card(seed=2))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("WRONG"), 2)
        self.assertGreater(found["parts"]["pictures"]["bfloat16"]["mean"], gpu_pictures.LIMITS["bfloat16"])

    def test_nothing_begins_when_the_time_is_over(self):
        done, found = self.gpu("--device", "cpu", "--tiny", "--minutes", "0.0001")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("LEFT OUT: speed", done.stdout)
        self.assertEqual(list(found["parts"]), ["pictures"])
        done, found = self.gpu("--device", "cpu", "--tiny", "--minutes", "0.001", "--only", "speed")
        self.assertIn("LEFT OUT: Scumble, turn 2 of 3", done.stdout)
        self.assertIn("left out when the time was over: Scumble, turn 2 of 3", self.page.read_text())

    def test_what_is_lacking_is_said_first(self):
        # Scumble for processors and no driver
        self.program("env", "")
        bare = {"PATH": str(self.folder / "bin")}
        done, found = self.gpu("--device", "cuda:0", "--tiny", env=bare)
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        for line, words in zip(done.stdout.splitlines(), ("LACKS: nvidia-smi", "LACKS: a device cuda:0 that Scumble", "LACKS: torch")):
            self.assertTrue(line.startswith(words), line)
        self.assertIsNone(found)
        # a card that is not there, and no binary
        done, _ = self.gpu("--device", "cuda:7", "--tiny", env={**self.card(), "SCUMBLE_BIN": "/nowhere/scumble"})
        self.assertEqual(done.returncode, 3)
        self.assertIn("LACKS: a card cuda:7 that nvidia-smi knows: No devices were found", done.stdout)
        self.assertIn("LACKS: /nowhere/scumble: `cargo build", done.stdout)
        # what is typed wrongly
        for flags, words in ((["--device", "cpu"], "--tiny"), (["--device", "gpu"], "cuda:NUMBER"), (["--only", "all"], "there is no part all"),
                             (["--runs", "0"], "at least 1")):
            done, _ = self.gpu(*flags)
            self.assertEqual(done.returncode, 2)
            self.assertIn(words, done.stderr)


class Weights(unittest.TestCase):
    @with_torch
    def test_tensors_are_those_of_diffusers(self):
        import torch
        from diffusers import AutoencoderKL, FluxTransformer2DModel

        for sizes in (gpu_weights.TRUE, gpu_weights.TINY):
            with torch.device("meta"):
                pairs = ((FluxTransformer2DModel.from_config(gpu_weights.transformer_config(sizes, 4096, 768)),
                          gpu_weights.transformer(sizes, 4096, 768)),
                         (AutoencoderKL.from_config(gpu_weights.autoencoder_config(sizes)), gpu_weights.autoencoder(sizes)))
            for network, shapes in pairs:
                self.assertEqual(dict(shapes), {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()})

    def test_true_size_is_true(self):
        from math import prod

        self.assertEqual(sum(prod(shape) for _, shape in gpu_weights.transformer(gpu_weights.TRUE, 4096, 768)), 11_901_408_320)
        self.assertEqual(len(gpu_weights.shards(gpu_weights.transformer(gpu_weights.TRUE, 128, 64), gpu_weights.SHARD)), 5)

    def test_one_file_and_several_draw_the_same(self):
        with tempfile.TemporaryDirectory() as held:
            files = []
            for name, most in (("one", gpu_weights.SHARD), ("several", 500_000)):
                folder, picture = gpu_weights.flux(Path(held, name), gpu_weights.TINY, most), Path(held, f"{name}.png")
                case = Case(endpoint="fal-ai/flux/dev", prompt="two stars", size=64, steps=1, weights=folder)
                gpu_pictures.draw(case, "cpu", "float32", picture, 60)
                files.append(picture)
            self.assertGreater(len(list((folder / "transformer").glob("*.safetensors"))), 3)
            self.assertEqual(gpu_pictures.distance(*files), {"mean": 0, "most": 0})


class Pictures(unittest.TestCase):
    @unittest.skipIf("PIL" in ABSENT, "SKIPPED: Pillow is not installed: the reader of PNG is not held against it")
    def test_pixels_are_those_that_pillow_reads(self):
        from PIL import Image

        with tempfile.TemporaryDirectory() as held:
            path = Path(held, "x.png")
            for mode in ("L", "RGB", "RGBA"):
                picture = Image.merge(mode, [Image.radial_gradient("L").rotate(30 * band).resize((61, 47)) for band in range(len(mode))])
                for level in (0, 9):
                    picture.save(path, compress_level=level)
                    self.assertEqual(gpu_pictures.png(path), ((61, 47, len(mode)), picture.tobytes()))
            picture.convert("P").save(path)
            self.assertRaises(ValueError, gpu_pictures.png, path)

    def test_every_filter_is_undone(self):
        above, line = bytes([10, 20, 30, 40]), [50, 60, 70, 80]
        # by hand: nothing, left, up, half of both, Paeth's choice
        for kind, stored in enumerate(([50, 60, 70, 80], [50, 10, 10, 10], [40, 40, 40, 40], [45, 25, 25, 25], [40, 10, 10, 10])):
            self.assertEqual(list(gpu_pictures.unfiltered(kind, bytearray(stored), above, 1)), line, kind)


if __name__ == "__main__":
    unittest.main(verbosity=0)
