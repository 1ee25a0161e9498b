//! Tokenizers that know a few words and every character.

use serde_json::{Map, Value, json};

use super::configs::pretty;
use super::{File, Variant, hidream, trained};

/// The words that are one token each.
const WORDS: [&str; 21] = [
    "a", "an", "the", "cat", "dog", "holding", "sign", "that", "says", "hello", "world", "red", "blue", "stars", "low",
    "quality", "blurry", "of", "in", "on", "with",
];
/// The characters that T5's tokenizer can fall back on.
const CHARS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"-:;()";
/// What T5's tokenizer writes for a space.
pub(super) const SPACE: char = '\u{2581}';

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// The files of every tokenizer of a pipeline.
pub(super) fn of(variant: Variant) -> Vec<File> {
    match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill => [clip("tokenizer", END), t5("tokenizer_2")].concat(),
        Variant::Sd35 => [clip("tokenizer", END), clip("tokenizer_2", "!"), t5("tokenizer_3")].concat(),
        Variant::AuraFlow => llama("tokenizer"),
        Variant::FLite => trained::t5("tokenizer"),
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => hidream::tokenizers(),
        Variant::OmniGen2 => trained::qwen("processor"),
    }
}

/// The files of CLIP's tokenizer.
fn clip(folder: &str, pad: &str) -> Vec<File> {
    clip_files(folder, pad, &clip_vocab(), &clip_merges())
}

/// The same with another vocabulary.
pub(super) fn clip_files(
    folder: &str,
    pad: &str,
    vocab: &Map<String, Value>,
    merges: &[(String, String)],
) -> Vec<File> {
    let merges: Vec<String> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    let added = [pad, START, END].map(|token| (vocab[token].to_string(), added(token, token == START)));
    let config = json!({
        "add_prefix_space": false,
        "added_tokens_decoder": Map::from_iter(added),
        "bos_token": START,
        "do_lower_case": true,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": END,
    });
    vec![
        (format!("{folder}/vocab.json"), Value::Object(vocab.clone()).to_string()),
        (format!("{folder}/merges.txt"), format!("#version: 0.2\n{}\n", merges.join("\n"))),
        (format!("{folder}/tokenizer_config.json"), pretty(&config)),
    ]
}

/// Every byte, every byte at the end of a word, what merges make, the two special tokens.
pub(super) fn clip_vocab() -> Map<String, Value> {
    let mut vocab = Map::new();
    let mut add = |token: String| {
        let id = vocab.len();
        vocab.entry(token).or_insert(id.into());
    };
    bytes().for_each(|byte| add(byte.into()));
    bytes().for_each(|byte| add(format!("{byte}</w>")));
    clip_merges().into_iter().for_each(|(a, b)| add(a + &b));
    [START, END].into_iter().for_each(|token| add(token.into()));
    vocab
}

/// The printable stand-ins that byte-level BPE uses for the 256 bytes, in vocabulary order.
pub(super) fn bytes() -> impl Iterator<Item = char> {
    let printable = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ');
    printable.chain(('\u{100}'..).take(256 - 94 - 12 - 82))
}

/// Pairs that build each word; the last character carries the end of the word.
fn clip_merges() -> Vec<(String, String)> {
    merges(WORDS.iter().filter(|word| word.len() > 1).map(|word| (*word).to_owned()), "</w>")
}

/// Pairs that build each word from the left, each once.
fn merges(words: impl Iterator<Item = String>, end: &str) -> Vec<(String, String)> {
    let mut merges = Vec::new();
    for word in words {
        let chars: Vec<char> = word.chars().collect();
        for split in 1..chars.len() {
            let end = if split + 1 == chars.len() { end } else { "" };
            let pair = (chars[..split].iter().collect::<String>(), format!("{}{end}", chars[split]));
            if !merges.contains(&pair) {
                merges.push(pair);
            }
        }
    }
    merges
}

/// The files of AuraFlow's tokenizer: words, characters, and bytes for everything else.
fn llama(folder: &str) -> Vec<File> {
    let vocab = llama_vocab();
    let special = ["<unk>", "<s>", "</s>"];
    let entry = |(id, token): (usize, &&str)| {
        let mut entry = added(token, false);
        entry["id"] = id.into();
        entry
    };
    let listed: Vec<Value> = special.iter().enumerate().map(entry).collect();
    let part = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let end = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": listed,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": SPACE },
            { "type": "Replace", "pattern": { "String": " " }, "content": SPACE },
        ]},
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part("A"), end],
            "pair": [part("A"), end, part("B"), end],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [2], "tokens": ["</s>"] } },
        },
        "decoder": null,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": true,
            "byte_fallback": true,
            "vocab": vocab,
            "merges": llama_merges(),
        },
    });
    let decoder = special.iter().enumerate().map(|(id, token)| (id.to_string(), added(token, false)));
    let config = json!({
        "added_tokens_decoder": Map::from_iter(decoder),
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": 512,
        "pad_token": "<unk>",
        "padding_side": "right",
        "tokenizer_class": "LlamaTokenizerFast",
        "unk_token": "<unk>",
    });
    vec![
        (format!("{folder}/tokenizer.json"), pretty(&tokenizer)),
        (format!("{folder}/tokenizer_config.json"), pretty(&config)),
    ]
}

fn llama_merges() -> Vec<(String, String)> {
    merges(WORDS.iter().map(|word| format!("{SPACE}{word}")), "")
}

/// Three special tokens, every byte, the space, characters, what merges make.
pub(super) fn llama_vocab() -> Map<String, Value> {
    let mut vocab = Map::new();
    let mut add = |token: String| {
        let id = vocab.len();
        vocab.entry(token).or_insert(id.into());
    };
    ["<unk>", "<s>", "</s>"].into_iter().for_each(|token| add(token.into()));
    (0..=255u8).for_each(|byte| add(format!("<0x{byte:02X}>")));
    add(SPACE.into());
    CHARS.chars().for_each(|c| add(c.into()));
    llama_merges().into_iter().for_each(|(a, b)| add(a + &b));
    vocab
}

/// The files of T5's tokenizer.
fn t5(folder: &str) -> Vec<File> {
    let pieces = t5_pieces();
    let special = pieces.iter().enumerate().filter(|(_, (piece, _))| piece.starts_with('<'));
    let normalizer = json!({ "type": "Sequence", "normalizers": [
        { "type": "NFKC" },
        { "type": "Strip", "strip_left": false, "strip_right": true },
        { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": SPACE },
    ]});
    let config = json!({
        "added_tokens_decoder": Map::from_iter(special.map(|(id, (piece, _))| (id.to_string(), added(piece, false)))),
        "eos_token": "</s>",
        "extra_ids": 10,
        "legacy": false,
        "model_max_length": 512,
        "pad_token": "<pad>",
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    });
    vec![
        (format!("{folder}/tokenizer.json"), pretty(&t5_tokenizer(&pieces, &normalizer, &spaces()))),
        (format!("{folder}/tokenizer_config.json"), pretty(&config)),
    ]
}

/// A `tokenizer.json` of T5's kind.
pub(super) fn t5_tokenizer(pieces: &[(String, f64)], normalizer: &Value, pre_tokenizer: &Value) -> Value {
    let special = pieces.iter().enumerate().filter(|(_, (piece, _))| piece.starts_with('<'));
    let added_tokens = special.map(|(id, (piece, _))| {
        let mut entry = added(piece, false);
        entry["id"] = id.into();
        entry
    });
    let part = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let end = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens.collect::<Vec<Value>>(),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part("A"), end],
            "pair": [part("A"), end, part("B"), end],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "decoder": spaces(),
        "model": { "type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": false },
    })
}

/// The sign for a space, before every word.
pub(super) fn spaces() -> Value {
    json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true })
}

/// Pieces and their scores: special ones, words, characters, and T5's extra ids counted down.
pub(super) fn t5_pieces() -> Vec<(String, f64)> {
    let mut pieces: Vec<(String, f64)> = ["<pad>", "</s>", "<unk>"].map(|token| (token.into(), 0.0)).into();
    pieces.push((SPACE.into(), -3.0));
    pieces.extend(WORDS.iter().enumerate().map(|(i, word)| (format!("{SPACE}{word}"), -4.0 - 0.01 * i as f64)));
    pieces.extend(CHARS.chars().enumerate().map(|(i, c)| (c.into(), -7.0 - 0.01 * i as f64)));
    pieces.extend((0..10).rev().map(|i| (format!("<extra_id_{i}>"), 0.0)));
    pieces
}

/// The entry of a special token.
pub(super) fn added(token: &str, normalized: bool) -> Value {
    json!({
        "content": token,
        "lstrip": false,
        "normalized": normalized,
        "rstrip": false,
        "single_word": false,
        "special": true,
    })
}
