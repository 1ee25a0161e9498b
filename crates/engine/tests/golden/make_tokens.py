#!/usr/bin/env python3
"""Record what transformers' tokenizers make of awkward prompts: `make_tokens.py CHECKPOINT > tokens.json`.

CHECKPOINT is a folder written by `cargo run -p scumble-testkit --example write_tiny flux-schnell CHECKPOINT`.
Made with transformers 5.23, tokenizers 0.23. T5's `tokenizer.json` is taken as it is: transformers' own `T5Tokenizer`
rebuilds it and would drop the NFKC step, which published files spell as a precompiled map that it does keep.
"""
import json
import sys

from transformers import CLIPTokenizer, PreTrainedTokenizerFast

LENGTH = 48
PROMPTS = [
    "",
    "   ",
    "a cat",
    "A CAT, holding: a sign!",
    "  two  spaces\tand\na newline  ",
    "it's they're we've I'm he'll she'd don't",
    "3 red stars in 2024, 50% off; #1 @home",
    "café naïve Ångström ﬁne",
    "cafe\u0301 combining",
    "猫が看板を持っている",
    "кот и собака",
    "a cat 🐈\u200d⬛ with 👍🏽",
    "hello...world -- (red) [blue] {low} <quality>",
    "a <|endoftext|> b",
    "<|startoftext|> a cat",
    "<|STARTOFTEXT|> a <|ENDOFTEXT|>",
    "a </s> b <pad> <unk> <extra_id_0> c",
    "quality" * 40,
    "a cat holding a sign that says hello world " * 12,
    "İstanbul ΑΣ ẞ",
    "x\u00a0y\u3000z\u200bw",
]


def main(folder):
    clip = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    t5 = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer_2/tokenizer.json", pad_token="<pad>")
    options = {"padding": "max_length", "truncation": True}
    lines = []
    for prompt in PROMPTS:
        lines.append(json.dumps({
            "prompt": prompt,
            "clip": clip(prompt, max_length=77, **options).input_ids,
            "t5": t5(prompt, max_length=LENGTH, **options).input_ids,
        }))
    print("[\n" + ",\n".join(lines) + "\n]")


if __name__ == "__main__":
    main(sys.argv[1])
