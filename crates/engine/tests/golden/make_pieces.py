#!/usr/bin/env python3
"""Train small models with sentencepiece and record the ids of awkward texts: `make_pieces.py pieces/`.

Made with sentencepiece 0.2.3. The rules for characters are a few of those that published models have, so that the files are small;
clients/parity compares all of them, on many more texts.
"""
import io
import json
import os
import sys
import tempfile
from pathlib import Path

import sentencepiece

RULES = {"\t": " ", "\n": " ", "\u00a0": " ", "\u3000": " ", "\u0001": "", "ﬁ": "fi", "Ａ": "A", "①": "1", "e\u0301": "é", "e\u0301\u0323": "ẹ́",
         "㍿": "株式会社", "½": "1⁄2", "…": "...", "\u1100\u1161": "\uac00", "𝐀": "A"}
SENTENCES = ["A red fox holding a sign that says hello in the snow", "the quick brown fox jumps over a lazy dog",
             "low light, high quality photo of the garden", "café naïve Straße", "猫が看板を持っている", "кот и собака"] * 3
TEXTS = ["", " ", "   ", "a cat", "  two  spaces\tand\na newline  ", "A RED FOX, holding: a sign!", "it's 3×4 = 12 in 2024, 50% off",
         "café naïve ﬁne ①②③ ½ …", "cafe\u0301 e\u0301\u0323 e\u0323\u0301", "猫が看板を持っている", "кот и собака", "ＡＢＣ\u3000㍿\u00a0end",
         "a cat 🐈\u200d⬛ with 👍🏽", "▁marked▁ ▁", "\x00\x01\x02 control", "\ufeff\u200bzero\u00adwidth", "<keep> this<keep>s", "</s> <unk> <pad>",
         "foxfoxfox holdingholding", "가 \u1100\u1161", "𝐀𝐁", "x" * 70, "the red fox of the garden " * 12, "שלום ابت हिन्दी ไทย"]
PLAIN = {"unk_id": 2, "eos_id": 1, "pad_id": 0, "bos_id": -1}
MODELS = {
    "unigram": {"model_type": "unigram", "vocab_size": 130},
    "suffix": {"model_type": "unigram", "vocab_size": 130, "treat_whitespace_as_suffix": True, "user_defined_symbols": ["<keep>"]},
    "bpe": {"model_type": "bpe", "vocab_size": 460, "byte_fallback": True, "remove_extra_whitespaces": False},
    "merges": {"model_type": "bpe", "vocab_size": 170, "user_defined_symbols": ["<keep>", "ox"], "add_dummy_prefix": False},
}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    points = lambda text: " ".join(f"{ord(c):X}" for c in text)
    folder, made = folder.resolve(), {}
    with tempfile.TemporaryDirectory() as place:
        # a model remembers the name of this file
        os.chdir(place)
        Path("rules.tsv").write_text("".join(f"{points(a)}\t{points(b)}\n" for a, b in RULES.items()))
        for name, options in MODELS.items():
            file = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(SENTENCES), model_writer=file, minloglevel=2, num_threads=1, hard_vocab_limit=False,
                normalization_rule_tsv="rules.tsv", **PLAIN, **options)
            (folder / f"{name}.model").write_bytes(file.getvalue())
            known = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
            made[name] = [{"text": text, "ids": known.encode(text) + [known.eos_id()]} for text in TEXTS]
    lines = ",\n".join(f'"{name}": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]" for name, cases in made.items())
    (folder / "ids.json").write_text("{\n" + lines + "\n}\n")


main(Path(sys.argv[1]))
