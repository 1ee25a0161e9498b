#!/usr/bin/env python3
"""bench.py with tiny networks: every part runs, and what it says is whole; and Scumble counts the work that torch counts.

    python test_bench.py

SCUMBLE_BIN names another binary than target/release/scumble.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

import bench_page
import bench_parts
import bench_theirs
from bench import PARTS
from bench_programs import ROOT, SCUMBLE

BENCH = Path(__file__).resolve().parent / "bench.py"
PAGE = ROOT / "docs" / "PERFORMANCE.md"


def run(folder, *flags):
    page = Path(folder, "page.md")
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-W", "ignore", BENCH, "--tiny", "--page", page, "--json", Path(folder, "all.json"), *flags]
    return subprocess.run(command, capture_output=True, text=True), page


class Bench(unittest.TestCase):
    def test_every_part_is_measured_and_put_into_the_page(self):
        with tempfile.TemporaryDirectory() as folder:
            done, page = run(folder, "--runs", "1", "--isa", "avx2")
            self.assertEqual(done.returncode, 0, done.stderr)
            found, text = json.loads(Path(folder, "all.json").read_text()), page.read_text(encoding="utf-8")
        self.assertEqual(list(found["parts"]), list(PARTS))
        self.assertIn("SKIPPED: torch's bfloat16", done.stdout)
        for part in PARTS:
            with self.subTest(part):
                self.whole(found["parts"][part])
                mark = bench_page.mark(PAGE, part, "avx2")
                table = re.search(f"<!-- measured: {mark} -->(.*)<!-- end: {mark} -->", text, re.S)[1]
                self.assertRegex(table, r"\n\|---\|")
                self.assertIn("held to avx2, 2 threads", table)
        self.assertEqual(re.sub(r"(<!-- measured: ([\w-]+) -->).*?(<!-- end)", r"\1\3", text, flags=re.S),
                         re.sub(r"(<!-- measured: ([\w-]+) -->).*?(<!-- end)", r"\1\3", PAGE.read_text(encoding="utf-8"), flags=re.S))
        # both draw the same, and files of fewer bits draw nearly the same
        self.assertLess(found["parts"]["flux"]["distance"]["mean"], 0.01)
        formats = found["parts"]["formats"]
        self.assertEqual(formats["float32"]["distance"], {"mean": 0.0, "most": 0})
        self.assertLess(0, formats["bfloat16"]["distance"]["mean"])
        self.assertLess(formats["Q8_0, by `models quantize`"]["file"], formats["bfloat16"]["file"])

    def whole(self, found):
        """Every number of it: times and memory are some."""
        if isinstance(found, dict):
            for name, value in found.items():
                if name in ("load", "text_encode", "denoise", "picture", "step", "command", "resident", "file"):
                    for number in value if isinstance(value, list) else [value]:
                        if not isinstance(number, dict):
                            self.assertGreater(number, 0, name)
                self.whole(value)
        elif isinstance(found, list):
            self.assertTrue(found)
            for entry in found:
                self.whole(entry)

    def test_the_work_that_is_counted_is_what_torch_counts(self):
        import bench_weights

        with tempfile.TemporaryDirectory() as folder:
            sd35 = replace(bench_parts.SD35, size=64, weights=bench_weights.sd35(Path(folder, "sd35"), None))
            clips = replace(sd35, weights=bench_weights.sd35_without_t5(Path(folder, "clips"), None))
            hidream = replace(bench_parts.HIDREAM, size=64, weights=bench_weights.hidream(Path(folder, "hidream"), None))
            for case in (bench_parts.STARTER, sd35, clips, hidream):
                ours = scumble_stages(case)
                for stage, gflop in torch_stages(case).items():
                    # Llama's head, which only diffusers multiplies with, is much of a tiny one
                    delta = 0.1 if case == hidream and stage == "text_encode" else 0.01
                    self.assertAlmostEqual(ours[stage] / gflop, 1, delta=delta, msg=f"{case.weights} {stage}")

    def test_what_it_cannot_do_it_says(self):
        with tempfile.TemporaryDirectory() as folder:
            for flags, words in ((["--only", "starter,speed"], "there is no part speed"), (["--runs", "0"], "at least 1"),
                                 (["--isa", "sse"], "invalid choice")):
                done, _ = run(folder, *flags)
                self.assertEqual(done.returncode, 2)
                self.assertIn(words, done.stderr)
            page = Path(folder, "empty.md")
            page.write_text("# Nothing\n")
            done, _ = run(folder, "--only", "growth", "--runs", "1", "--page", page)
            self.assertIn("<!-- measured: growth -->", done.stderr)


def torch_stages(case):
    """GFLOP of each stage of one step, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    pipe, counted = bench_theirs.opened(case.weights, case.size, torch.float32), {}

    def counting(name, call):
        def inner(*args, **kwargs):
            with FlopCounterMode(display=False) as counter:
                out = call(*args, **kwargs)
            counted[name] = counted.get(name, 0) + counter.get_total_flops() / 1e9
            return out
        return inner

    pipe.encode_prompt = counting("text_encode", pipe.encode_prompt)
    pipe.transformer.forward = counting("step", pipe.transformer.forward)
    pipe.vae.decode = counting("decode", pipe.vae.decode)
    pipe(case.prompt, height=case.size, width=case.size, num_inference_steps=1, guidance_scale=1.0,
         max_sequence_length=case.tokens, **bench_theirs.guided(pipe, case.guidance))
    return counted


def scumble_stages(case):
    """The same as Scumble counts them."""
    command = [SCUMBLE, "bench", "engine", case.endpoint, "--runs", "1", "--json", "--steps", "1", "-i", f"prompt={case.prompt}",
               "--size", f"{case.size}x{case.size}", "-i", f"max_sequence_length={case.tokens}", *case.flags]
    command += ["--weights", case.weights] if case.endpoint != "scumble/starter" else []
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {row["stage"]: row["gflop"] for row in report["stages"] if "gflop" in row}


if __name__ == "__main__":
    unittest.main(verbosity=0)
