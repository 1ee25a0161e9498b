"""The starter's two tokenizers, in the files that the published FLUX.1 repositories carry.

CLIP: `vocab.json` and `merges.txt`, byte-level BPE; a word of ours is one token, any other word falls apart into bytes.
T5: `tokenizer.json`, Unigram over our words; a run of unknown characters is one `<unk>`. Its class in `model_index.json`
is `PreTrainedTokenizerFast`, which takes the file as it stands; transformers 5 rebuilds a `T5TokenizerFast` from the
vocabulary alone and would lose our lower-casing.
"""

import json
import shutil

from safetensors.torch import load_file, save_file

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
SLOTS = {"tokenizer": "clip", "tokenizer_2": "t5"}


def dump(path, obj):
    path.write_text(json.dumps(obj, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def special_entry(token, normalized=False):
    return {"content": token, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False,
            "special": True}


def byte_alphabet():
    """The printable stand-ins that byte-level BPE uses for the 256 byte values, in vocabulary order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def merges_for(words):
    """Left-to-right merges that build each word from its characters; the last symbol carries `</w>`."""
    merges = []
    for word in words:
        symbols = [*word[:-1], word[-1] + "</w>"]
        left = symbols[0]
        for right in symbols[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
            left += right
    return merges


def write_clip(folder, words):
    folder.mkdir(parents=True, exist_ok=True)
    merges = merges_for([w for w in words if len(w) > 1])
    alphabet = byte_alphabet()
    tokens = alphabet + [c + "</w>" for c in alphabet] + [a + b for a, b in merges]
    vocab = {t: i for i, t in enumerate([*dict.fromkeys(tokens), BOS, EOS])}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
    dump(folder / "special_tokens_map.json", special)
    dump(folder / "tokenizer_config.json", {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(vocab[t]): special_entry(t, t == BOS) for t in (BOS, EOS)},
        "clean_up_tokenization_spaces": True, "do_lower_case": True, "errors": "replace", "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer", **special})


def write_t5(folder, words, length):
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    folder.mkdir(parents=True, exist_ok=True)
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [(t, 0.0) for t in special] + [("\u2581", -3.0)]
    pieces += [(w, -5.0) for w in words if not w[0].isalnum()]  # punctuation sticks to the word before it
    pieces += [("\u2581" + w, -4.0) for w in words if w[0].isalnum()]
    tok = Tokenizer(Unigram(pieces, unk_id=2, byte_fallback=False))
    tok.normalizer = normalizers.Sequence([
        normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(left=False, right=True),
        normalizers.Replace(Regex(" {2,}"), "\u2581")])
    tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tok.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    tok.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tok.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    dump(folder / "special_tokens_map.json", names)
    dump(folder / "tokenizer_config.json", {
        "added_tokens_decoder": {str(i): special_entry(t) for i, t in enumerate(special)},
        "clean_up_tokenization_spaces": False, "model_max_length": length,
        "tokenizer_class": "PreTrainedTokenizerFast", **names})


def write(folder, words, length):
    write_clip(folder / "tokenizer", words)
    write_t5(folder / "tokenizer_2", words, length)


def load(folder):
    import transformers

    return (transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            transformers.PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer_2"))


def size(tokenizer):
    return len(tokenizer)


def copy(source, out):
    for slot in SLOTS:
        shutil.copytree(source / slot, out / slot, dirs_exist_ok=True)


def published_names(path):
    """Published CLIP text checkpoints prefix every tensor with `text_model.`; newer libraries leave it out."""
    tensors = load_file(path)
    if "embeddings.token_embedding.weight" in tensors:
        save_file({f"text_model.{k}": v for k, v in tensors.items()}, path, metadata={"format": "pt"})
