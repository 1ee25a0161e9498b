//! The words behind the tokenizers of F-Lite's tiny checkpoint, and its weights' spread.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::File;
use super::configs::pretty;
use super::tokenizers::{SPACE, added};

/// The prompt that golden tensors were recorded with.
pub(super) const PROMPT: &str = "A red fox holding a sign that says \"Hello, café 42!\" in the snow.";
const NEGATIVE: &str = "blurry, low quality";
const REST: &str = " the quick brown fox jumps over a lazy dog while the artist paints a photo of the garden, snow on the \
    sign, low light, high quality image of a helpful assistant system user you are that generates images based on \
    instructions. ";

/// Pieces of words that are tokens.
const PARTS: usize = 160;
const EXTRA: usize = 4;

/// The files of a T5 tokenizer that was made from this text.
pub(super) fn t5(folder: &str) -> Vec<File> {
    let pieces = t5_pieces();
    let special = || pieces.iter().enumerate().filter(|(_, (piece, _))| piece.starts_with('<'));
    let listed: Vec<Value> = special()
        .map(|(id, (piece, _))| {
            let mut entry = added(piece, false);
            entry["id"] = id.into();
            entry
        })
        .collect();
    let part = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let end = json!({ "SpecialToken": { "id": "</s>", "type_id": 0 } });
    let spaces = json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": listed,
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, spaces] },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [part("A"), end],
            "pair": [part("A"), end, part("B"), end],
            "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
        },
        "decoder": spaces,
        "model": { "type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": false },
    });
    let extra: Vec<String> = (0..EXTRA).map(|i| format!("<extra_id_{i}>")).collect();
    let config = json!({
        "additional_special_tokens": extra,
        "eos_token": "</s>",
        "extra_ids": EXTRA,
        "legacy": true,
        "model_max_length": 512,
        "pad_token": "<pad>",
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    });
    vec![
        (format!("{folder}/tokenizer.json"), pretty(&tokenizer)),
        (format!("{folder}/tokenizer_config.json"), pretty(&config)),
    ]
}

/// Pieces and their scores: special ones, characters, the most frequent parts of words, the other words, extra ids counted
/// down.
pub(super) fn t5_pieces() -> Vec<(String, f64)> {
    let words = words();
    let total = words.values().sum::<usize>() as f64;
    let rounded = |x: f64| (x * 1e4).round_ties_even() / 1e4;
    let mut pieces: Vec<(String, f64)> = ["<pad>", "</s>", "<unk>"].map(|token| (token.into(), 0.0)).into();
    let chars: std::collections::BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    pieces.extend(chars.into_iter().enumerate().map(|(i, c)| (c.into(), -9.0 - 0.01 * i as f64)));
    let mut parts: Vec<(String, usize)> = parts(&words).into_iter().collect();
    // of equally frequent ones, in the order of the alphabet, which they are in
    parts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let score = |count: usize, of: f64| rounded((count as f64 / of).ln());
    pieces.extend(parts.into_iter().take(PARTS).map(|(part, count)| (part, score(count, 8.0 * total))));
    let known: std::collections::BTreeSet<String> = pieces.iter().map(|(piece, _)| piece.clone()).collect();
    let others = words.into_iter().filter(|(word, _)| !known.contains(word));
    pieces.extend(others.map(|(word, count)| (word, score(count, total))));
    pieces.extend((0..EXTRA).rev().map(|i| (format!("<extra_id_{i}>"), 0.0)));
    pieces
}

/// Words with the sign for the space before them, and how often they come.
fn words() -> BTreeMap<String, usize> {
    let text = format!("{PROMPT} {NEGATIVE}{REST}").repeat(2);
    let mut words = BTreeMap::new();
    for word in text.split_whitespace() {
        *words.entry(format!("{SPACE}{word}")).or_default() += 1;
    }
    words
}

/// Parts of two to six characters, and how often they come.
fn parts(words: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut parts = BTreeMap::new();
    for (word, count) in words {
        let chars: Vec<char> = word.chars().collect();
        for part in (2..=6).flat_map(|length| chars.windows(length)) {
            *parts.entry(part.iter().collect()).or_default() += count;
        }
    }
    parts
}

/// How numbers of a tensor are spread: embeddings 1, tables of distances 0.5, biases 0.1, gains about 1, shares about ½,
/// matrices with variance 1 / inputs.
pub(super) fn spread(name: &str, shape: &[usize]) -> Box<dyn Fn(f32) -> f32> {
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let inputs = shape.iter().skip(1).product::<usize>().max(1);
    match name.rsplit('.').next().unwrap_or(name) {
        _ if has(&["embed_tokens", "shared.", "register_tokens"]) => Box::new(|x| x),
        _ if has(&["relative_attention_bias"]) => Box::new(|x| 0.5 * x),
        "bias" => Box::new(|x| 0.1 * x),
        "lambda_param" => Box::new(|x| 0.5 + 0.2 * x),
        _ if shape.len() == 1 => Box::new(|x| 1.0 + 0.2 * x),
        _ => Box::new(move |x| x / (inputs as f64).sqrt() as f32),
    }
}
