"""Tokenizers that sentencepiece trains, saves and knows the ids of, against what Scumble reads of the same files."""

import io
import json
import os
import random
import subprocess
from pathlib import Path

import sentencepiece

import small

ROOT = Path(__file__).resolve().parents[2]
IDS = os.environ.get("IDS_BIN", ROOT / "target/release/examples/ids")
TEXTS = 10_000
SCRIPTS = ["abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", ".,!?'\"-:;()[]{}<>/\\@#$%^&*_+=|~`",
           "äöüßéèêñçåøæœ", "абвгдежзийклмнопрст", "αβγδεζηθικλμν", "猫犬花鳥風月山川", "ひらがなカタカナ", "한국어문장",
           "אבגדהוזחט", "ابتثجحخد", "हिन्दीभाषा", "ไทยภาษา", "🦊🐈🎨👍🏽🏳️\u200d🌈", "ﬁﬂﬃ①②Ⅷ㍿ｱｲｳＡＢＣ１２３½㎏",
           "\u0301\u0308\u0327\u0323", "\u00a0\u2003\u3000\u200b\u200d\ufeff\u00ad", "".join(map(chr, range(1, 32))), "\x7f\x80\x9f",
           "▁", "\ufffd", "  ", "\t\n\r", "\x00", "\U0001d400\U0002f800\U000e0041"]
WORDS = (small.CORPUS + " l'été où naïve façade Straße größer кошка на снегу 東京 의 שלום").split()


def texts(count):
    """Words and characters of many scripts, short and long, and what breaks tokenizers."""
    rng = random.Random(5)
    made = ["", " ", "   ", "\n", "▁", "▁▁", " a  b ", "a\u0301", "</s>", "<unk>", "<0x41>", "<keep> this<keep>", "\x00", "e" * 3000,
            small.CORPUS, "猫" * 700, "\u3000\u3000", "👩\u200d👩\u200d👧\u200d👦" * 20, "\u1100\u1161\u11a8", "ﷺ" * 9]
    while len(made) < count:
        kind = rng.random()
        if kind < 0.4:
            parts = [rng.choice(WORDS) for _ in range(rng.randrange(1, 20))]
            made.append(rng.choice([" ", "  ", "", "\t"]).join(parts))
        elif kind < 0.9:
            letters = "".join(rng.choice(rng.choice(SCRIPTS)) for _ in range(rng.randrange(1, 40)))
            made.append(letters if rng.random() < 0.5 else f"{rng.choice(WORDS)} {letters} {rng.choice(WORDS)}")
        else:
            # any characters at all but the halves of pairs
            points = (rng.choice([rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x110000)]) for _ in range(12))
            made.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
    return made


def models():
    """Names, and how each is trained: as T5, as Llama and UMT5, and with what is left."""
    plain = {"unk_id": 2, "eos_id": 1, "pad_id": 0, "bos_id": -1}
    return {
        "spiece.model unigram": {**plain, "model_type": "unigram", "vocab_size": 2000},
        "spiece.model whole": {**plain, "model_type": "unigram", "vocab_size": 1000, "normalization_rule_name": "nfkc_cf",
                               "user_defined_symbols": ["<keep>", "fox"], "byte_fallback": False},
        "spiece.model suffix": {**plain, "model_type": "unigram", "vocab_size": 800, "treat_whitespace_as_suffix": True,
                                "normalization_rule_name": "nfkc"},
        "spiece.model spaces": {**plain, "model_type": "unigram", "vocab_size": 900, "byte_fallback": True,
                                "remove_extra_whitespaces": False, "add_dummy_prefix": False},
        "tokenizer.model bpe": {**plain, "model_type": "bpe", "vocab_size": 1500, "byte_fallback": True,
                                "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
        "tokenizer.model merges": {**plain, "model_type": "bpe", "vocab_size": 700, "user_defined_symbols": ["<keep>", "ox"]},
    }


def compare(folder, test):
    """Gives how many texts were compared."""
    compared, every = 0, texts(TEXTS)
    documents = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("docs/*.md"))]
    sentences = [line[:400] for text in documents for line in text.splitlines() if line] + WORDS
    for name, options in models().items():
        file = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=file, hard_vocab_limit=False, minloglevel=2,
            num_threads=1, **options)
        root = folder / name.replace(" ", "-")
        (root / "tokenizer").mkdir(parents=True)
        small.write_json(root / "model_index.json", {"_class_name": "FLitePipeline"})
        (root / "tokenizer" / name.split()[0]).write_bytes(file.getvalue())
        known = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
        expected = [known.encode(text) + [known.eos_id()] for text in every]
        done = subprocess.run([IDS, root, "tokenizer"], input=json.dumps(every), capture_output=True, text=True)
        test.assertEqual(done.returncode, 0, done.stderr)
        got = json.loads(done.stdout)
        wrong = [(text, e, g) for text, e, g in zip(every, expected, got, strict=True) if e != g]
        test.assertFalse(wrong, f"{name}: {len(wrong)} of {len(every)}, the first of them {wrong[:3]}")
        compared += len(every)
    return compared
