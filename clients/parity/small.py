"""Small checkpoints of HiDream-I1, OmniGen2 and F-Lite: weights that depend on their names, tokenizers that learned from a few sentences.

Everything here depends only on its arguments, so that the same words give the same files everywhere.
"""

import json
import math
import re
import struct
import unicodedata
import zlib
from collections import Counter

import torch
from safetensors.torch import save_file

PROMPT = 'A red fox holding a sign that says "Hello, café 42!" in the snow.'
NEGATIVE = "blurry, low quality"
CORPUS = (PROMPT + " " + NEGATIVE + " the quick brown fox jumps over a lazy dog while the artist paints "
          "a photo of the garden, snow on the sign, low light, high quality image of a helpful assistant "
          "system user you are that generates images based on instructions. ") * 2
VAE = {"in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"] * 4,
       "up_block_types": ["UpDecoderBlock2D"] * 4, "block_out_channels": [8, 16, 16, 16], "layers_per_block": 1,
       "act_fn": "silu", "latent_channels": 16, "norm_num_groups": 4, "sample_size": 128, "scaling_factor": 0.3611,
       "shift_factor": 0.1159, "force_upcast": True, "use_quant_conv": False, "use_post_quant_conv": False,
       "mid_block_add_attention": True}


# ------------------------------------------------------------------------------------------------ weights
def rand(tag, name, shape):
    """One tensor: of a generator that is seeded with the model's tag and the tensor's name."""
    g = torch.Generator().manual_seed(zlib.crc32(f"{tag}/{name}".encode()))
    x = torch.randn(tuple(shape), generator=g)
    leaf = name.rsplit(".", 1)[-1]
    if re.search(r"embed_tokens|shared\.|token_embedding|register_tokens", name):
        return x
    if re.search(r"position_embedding|relative_attention_bias|image_index", name):
        return 0.5 * x
    if leaf == "bias":
        return 0.1 * x
    if len(shape) == 1:
        return 0.5 + 0.2 * x if leaf == "lambda_param" else 1 + 0.2 * x
    return x / math.sqrt(max(1, math.prod(shape[1:])))


def fill(tag, shapes):
    return {name: rand(tag, name, shape) for name, shape in shapes.items()}


def shapes(module):
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_weights(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().float() for k, v in tensors.items()}, str(path), metadata={"format": "pt"})


def write_vae(folder, tag):
    from diffusers import AutoencoderKL

    tensors = fill(tag, shapes(AutoencoderKL(**VAE)))
    write_json(folder / "config.json", {"_class_name": "AutoencoderKL", "_diffusers_version": "0.32.1", **VAE})
    write_weights(folder / "diffusion_pytorch_model.safetensors", tensors)


def write_transformers(folder, tag, config, published=str):
    """config.json and model.safetensors under the published names, into which transformers' own are turned; it must find them
    complete."""
    import transformers

    cls = getattr(transformers, config["architectures"][0])
    with torch.device("meta"):
        known = transformers.AutoConfig.for_model(**{k: v for k, v in config.items() if k != "architectures"})
        wanted = shapes(cls(known))
    # shared.weight, and embed_tokens where a configuration ties them
    tied = {"encoder.embed_tokens.weight", *(["lm_head.weight"] if config.get("tie_word_embeddings") else [])}
    wanted = {published(name): shape for name, shape in wanted.items() if name not in tied}
    write_json(folder / "config.json", config)
    write_weights(folder / "model.safetensors", fill(tag, wanted))
    _, info = cls.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    bad = {k: v for k, v in info.items() if v and not set(v) <= tied}
    assert not bad, bad


# ----------------------------------------------------------------------------------------- configurations
def clip_config(vocab, hidden, inter, layers, heads, positions, projection, act="quick_gelu"):
    return {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model", "vocab_size": vocab,
            "hidden_size": hidden, "intermediate_size": inter, "num_hidden_layers": layers, "num_attention_heads": heads,
            "max_position_embeddings": positions, "projection_dim": projection, "hidden_act": act, "layer_norm_eps": 1e-5,
            "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}


def t5_config(vocab, d_model, d_kv, d_ff, layers, heads):
    return {"architectures": ["T5EncoderModel"], "model_type": "t5", "vocab_size": vocab, "d_model": d_model, "d_kv": d_kv,
            "d_ff": d_ff, "num_layers": layers, "num_decoder_layers": layers, "num_heads": heads,
            "feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": True, "is_encoder_decoder": True,
            "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
            "dropout_rate": 0.1, "decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
            "tie_word_embeddings": False}


def llama_config(vocab, bos, eos, hidden, inter, layers, heads, kv_heads):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab, "hidden_size": hidden,
            "intermediate_size": inter, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
            "max_position_embeddings": 131072,
            "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 8192, "rope_type": "llama3"},
            "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False, "bos_token_id": bos,
            "eos_token_id": [eos]}


def qwen_config(vocab, ids, hidden, inter, layers, heads, kv_heads, sections):
    """Qwen2.5-VL, with a part that sees and that nothing here looks with."""
    sight = {"model_type": "qwen2_5_vl", "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2,
             "fullatt_block_indexes": [1], "hidden_act": "silu", "in_chans": 3, "out_hidden_size": hidden, "patch_size": 14,
             "spatial_patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "tokens_per_second": 2,
             "window_size": 112}
    return {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "vocab_size": vocab,
            "hidden_size": hidden, "intermediate_size": inter, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": sections}, "max_position_embeddings": 128000,
            "sliding_window": 32768, "use_sliding_window": False, "tie_word_embeddings": True,
            "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
            "vision_start_token_id": ids["<|vision_start|>"], "vision_end_token_id": ids["<|vision_end|>"],
            "image_token_id": ids["<|image_pad|>"], "video_token_id": ids["<|video_pad|>"], "vision_config": sight}


# --------------------------------------------------------------------------------------------- tokenizers
def byte_alphabet():
    """The printable characters that byte-level BPE writes for bytes."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in keep]
    return {byte: chr(byte) for byte in keep} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def learn_merges(words, count, suffix=""):
    """Byte-pair encoding, learned from a list of words; of equals the first in order."""
    table, sequences = byte_alphabet(), Counter()
    for word, times in Counter(words).items():
        symbols = [table[byte] for byte in word.encode()]
        symbols[-1] += suffix
        sequences[tuple(symbols)] += times
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for symbols, times in sequences.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged = Counter()
        for symbols, times in sequences.items():
            merged[merge(symbols, best)] += times
        sequences = merged
    return merges


def merge(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if symbols[i:i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def write_clip_tokenizer(folder, pad):
    words = re.findall(r"'s|[^\W\d_]+|\d|[^\s\w]+", unicodedata.normalize("NFC", CORPUS).lower())
    merges = learn_merges(words, 120, "</w>")
    base = list(byte_alphabet().values())
    tokens = base + [t + "</w>" for t in base] + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", {**special, "add_prefix_space": False, "do_lower_case": True,
               "errors": "replace", "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"})
    return len(vocab)


def write_t5_tokenizer(folder, extra=4):
    """tokenizer.json, and the same pieces as sentencepiece's own file."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    pieces = t5_pieces()
    more = [f"<extra_id_{i}>" for i in range(extra)]
    tok = Tokenizer(models.Unigram([*pieces, *((e, 0.0) for e in reversed(more))], unk_id=2, byte_fallback=False))
    space = {"replacement": "▁", "prepend_scheme": "always"}
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**space)])
    tok.decoder = decoders.Metaspace(**space)
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<pad>", "</s>", "<unk>", *more)])
    folder.mkdir(parents=True)
    tok.save(str(folder / "tokenizer.json"))
    (folder / "spiece.model").write_bytes(sentencepiece_file(pieces))
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": more, **special})
    write_json(folder / "tokenizer_config.json", {**special, "additional_special_tokens": more, "extra_ids": extra,
               "model_max_length": 512, "legacy": True, "tokenizer_class": "T5Tokenizer"})
    return len(pieces) + extra


def t5_pieces():
    words = Counter("▁" + word for word in CORPUS.split())
    total, parts = sum(words.values()), Counter()
    for word, times in words.items():
        for length in range(2, 7):
            for i in range(len(word) - length + 1):
                parts[word[i:i + length]] += times
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(c, -9.0 - 0.01 * i) for i, c in enumerate(sorted({c for word in words for c in word}))]
    for part, times in sorted(parts.items(), key=lambda entry: (-entry[1], entry[0]))[:160]:
        pieces.append((part, round(math.log(times / (8 * total)), 4)))
    known = {piece for piece, _ in pieces}
    return pieces + [(w, round(math.log(n / total), 4)) for w, n in sorted(words.items()) if w not in known]


def sentencepiece_file(pieces):
    """The protobuf of a unigram model without rules for characters."""
    def number(n):
        out = b""
        while True:
            n, low = n >> 7, n & 127
            out += bytes([low | (128 if n else 0)])
            if not n:
                return out

    def field(tag, payload):
        return number(tag << 3 | 2) + number(len(payload)) + payload

    body = b""
    for i, (text, score) in enumerate(pieces):
        kind = {0: 3, 1: 3, 2: 2}.get(i, 1)
        body += field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + number(kind))
    return body + field(2, number(3 << 3) + number(1)) + field(3, field(1, b"identity"))


LLAMA_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(split, special, normalizer=None):
    """Byte-level BPE that learned from the corpus. Words that are tokens stay whole where nothing is normalized."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    merges = learn_merges(re.findall(r" ?[^\W\d_]+|\d| ?[^\s\w]+", CORPUS), 150)
    tokens = dict.fromkeys([*byte_alphabet().values(), *(a + b for a, b in merges)])
    vocab = {t: i for i, t in enumerate(tokens)}
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=normalizer is None))
    if normalizer is not None:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tok, vocab, merges


def write_llama_tokenizer(folder):
    """Gives the size of the vocabulary, and the ids of what begins and what ends a text."""
    from tokenizers import processors

    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tok, _, _ = byte_level(LLAMA_SPLIT, special)
    begin, end = tok.token_to_id(special[0]), tok.token_to_id("<|eot_id|>")
    template = processors.TemplateProcessing(single=f"{special[0]} $A", pair=f"{special[0]} $A {special[0]} $B",
                                             special_tokens=[(special[0], begin)])
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    folder.mkdir(parents=True)
    tok.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": special[0], "eos_token": "<|eot_id|>"}
    write_json(folder / "special_tokens_map.json", roles)
    write_json(folder / "tokenizer_config.json", {**roles, "model_max_length": 131072,
               "model_input_names": ["input_ids", "attention_mask"], "tokenizer_class": "PreTrainedTokenizerFast"})
    return tok.get_vocab_size(), begin, end


def write_qwen_tokenizer(folder):
    """Gives the size of the vocabulary, and the ids of the special tokens."""
    from tokenizers import normalizers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
               "<|image_pad|>", "<|video_pad|>"]
    tok, vocab, merges = byte_level(LLAMA_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}"), special, normalizers.NFC())
    ids = {token: tok.token_to_id(token) for token in special}
    folder.mkdir(parents=True)
    tok.save(str(folder / "tokenizer.json"))
    write_json(folder / "vocab.json", vocab)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    write_json(folder / "added_tokens.json", ids)
    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "additional_special_tokens": special[1:]}
    write_json(folder / "special_tokens_map.json", roles)
    added = {str(i): {"content": token, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                      "special": True} for token, i in ids.items()}
    write_json(folder / "tokenizer_config.json", {
        **roles, "add_bos_token": False, "add_prefix_space": False, "bos_token": None, "unk_token": None, "errors": "replace",
        "model_max_length": 131072, "split_special_tokens": False, "added_tokens_decoder": added,
        "tokenizer_class": "Qwen2Tokenizer"})
    return tok.get_vocab_size(), ids


# ---------------------------------------------------------------------------------------------------- pictures
def record_picture(vae, latents, put, size=None):
    """Decodes latents, and puts down what goes in, what comes out and the bytes, of a picture of this height and width where
    one is given."""
    with torch.no_grad():
        z = latents / vae.config.scaling_factor + vae.config.shift_factor
        x = vae.decode(z).sample
    put("vae.decode.in", z)
    put("vae.decode.out", x)
    if size is not None and tuple(x.shape[-2:]) != size:
        x = torch.nn.functional.interpolate(x, size=size, mode="bilinear")
    put("image.uint8_nhwc", ((x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1) * 255).round().to(torch.uint8))
