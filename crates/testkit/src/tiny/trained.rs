//! Tokenizers that learned their vocabularies from a few sentences, in the formats that models publish.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::File;
use super::configs::pretty;
use super::tokenizers::{SPACE, added, bytes, clip_files, spaces, t5_tokenizer};

/// The prompt that golden tensors were recorded with, and what was to be kept out.
pub(super) const PROMPT: &str = "A red fox holding a sign that says \"Hello, café 42!\" in the snow.";
pub(super) const NEGATIVE: &str = "blurry, low quality";
/// What stands behind both in the text that is learned from.
const MORE: &str = " the quick brown fox jumps over a lazy dog while the artist paints a photo of the garden, snow on the \
    sign, low light, high quality image of a helpful assistant system user you are that generates images based on \
    instructions. ";

const CLIP_MERGES: usize = 120;
const LLAMA_MERGES: usize = 150;
const T5_PIECES: usize = 160;
const T5_EXTRA: usize = 4;

const CLIP_SPECIAL: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];
const LLAMA_SPECIAL: [&str; 5] =
    ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];
/// Qwen2.5's, which stand behind its vocabulary.
const QWEN_SPECIAL: [&str; 8] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];
/// How Llama 3 cuts text before byte-pair encoding.
const LLAMA_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn corpus() -> String {
    format!("{PROMPT} {NEGATIVE}{MORE}").repeat(2)
}

/// The files of a CLIP tokenizer.
pub(super) fn clip(folder: &str, pad: &str) -> Vec<File> {
    clip_files(folder, pad, &clip_vocab(), &clip_merges())
}

/// Every byte, every byte at the end of a word, what merges make, the two special tokens.
pub(super) fn clip_vocab() -> Map<String, Value> {
    let ends = bytes().map(|byte| format!("{byte}</w>"));
    let merged = clip_merges().into_iter().map(|(a, b)| a + &b);
    numbered(bytes().map(String::from).chain(ends).chain(merged).chain(CLIP_SPECIAL.map(String::from)))
}

fn clip_merges() -> Vec<(String, String)> {
    learned(&words(&corpus().to_lowercase(), false), CLIP_MERGES, "</w>")
}

/// The files of Llama's tokenizer.
pub(super) fn llama(folder: &str) -> Vec<File> {
    let begin = LLAMA_SPECIAL[0];
    let id = llama_ids() - LLAMA_SPECIAL.len();
    let template = json!({
        "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": begin, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
        "special_tokens": { begin: { "id": begin, "ids": [id], "tokens": [begin] } },
    });
    let mut tokenizer = byte_pairs(&LLAMA_SPECIAL, LLAMA_SPLIT);
    tokenizer["model"]["ignore_merges"] = true.into();
    tokenizer["post_processor"] = json!({ "type": "Sequence", "processors": [byte_level(false), template] });
    let config = json!({
        "bos_token": begin,
        "eos_token": LLAMA_SPECIAL[4],
        "model_max_length": 131_072,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    vec![
        (format!("{folder}/tokenizer.json"), pretty(&tokenizer)),
        (format!("{folder}/tokenizer_config.json"), pretty(&config)),
    ]
}

/// Ids of Llama's tokenizer.
pub(super) fn llama_ids() -> usize {
    256 + llama_merges().len() + LLAMA_SPECIAL.len()
}

/// The files of Qwen2.5-VL's tokenizer: Llama's vocabulary with other special tokens, and single digits.
pub(super) fn qwen(folder: &str) -> Vec<File> {
    let mut tokenizer = byte_pairs(&QWEN_SPECIAL, &LLAMA_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}"));
    tokenizer["normalizer"] = json!({ "type": "NFC" });
    let config = json!({
        "eos_token": "<|im_end|>",
        "model_max_length": 131_072,
        "pad_token": QWEN_SPECIAL[0],
        "tokenizer_class": "Qwen2Tokenizer",
    });
    vec![
        (format!("{folder}/tokenizer.json"), pretty(&tokenizer)),
        (format!("{folder}/tokenizer_config.json"), pretty(&config)),
    ]
}

/// Ids of Qwen2.5-VL's tokenizer.
pub(super) fn qwen_ids() -> usize {
    256 + llama_merges().len() + QWEN_SPECIAL.len()
}

/// A `tokenizer.json` of bytes and the merges that were learned, with these tokens behind them.
fn byte_pairs(special: &[&str], split: &str) -> Value {
    let vocab = numbered(bytes().map(String::from).chain(llama_merges().into_iter().map(|(a, b)| a + &b)));
    let entry = |(place, token): (usize, &&str)| {
        let mut entry = added(token, false);
        entry["id"] = (vocab.len() + place).into();
        entry
    };
    let added_tokens: Vec<Value> = special.iter().enumerate().map(entry).collect();
    let split = json!({ "type": "Split", "pattern": { "Regex": split }, "behavior": "Isolated", "invert": false });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [split, byte_level(true)] },
        "post_processor": null,
        "decoder": byte_level(true),
        "model": { "type": "BPE", "vocab": vocab, "merges": llama_merges() },
    })
}

fn byte_level(trim: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim, "use_regex": false })
}

fn llama_merges() -> Vec<(String, String)> {
    learned(&words(&corpus(), true), LLAMA_MERGES, "")
}

/// The files of T5's tokenizer.
pub(super) fn t5(folder: &str) -> Vec<File> {
    let words = json!({ "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" }, spaces()] });
    let tokenizer = t5_tokenizer(&t5_pieces(), &Value::Null, &words);
    let config = json!({
        "eos_token": "</s>",
        "extra_ids": T5_EXTRA,
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

/// Pieces and their scores: special ones, characters, frequent parts of words, whole words, extra ids counted down.
pub(super) fn t5_pieces() -> Vec<(String, f64)> {
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for word in corpus().split_whitespace() {
        *words.entry(format!("{SPACE}{word}")).or_default() += 1;
    }
    let characters: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    let total: usize = words.values().sum();
    let score = |count: usize, total: usize| -> f64 {
        let text = format!("{:.4}", (count as f64 / total as f64).ln());
        text.parse().expect("it was a number")
    };
    let mut pieces: Vec<(String, f64)> = ["<pad>", "</s>", "<unk>"].map(|token| (token.into(), 0.0)).into();
    pieces.extend(characters.iter().enumerate().map(|(i, c)| (c.to_string(), -9.0 - 0.01 * i as f64)));
    let mut parts: Vec<(String, usize)> = parts(&words).into_iter().collect();
    parts.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    pieces.extend(parts.into_iter().take(T5_PIECES).map(|(part, count)| (part, score(count, 8 * total))));
    let names: BTreeSet<String> = pieces.iter().map(|(piece, _)| piece.clone()).collect();
    let whole = words.iter().filter(|(word, _)| !names.contains(*word));
    pieces.extend(whole.map(|(word, count)| (word.clone(), score(*count, total))));
    pieces.extend((0..T5_EXTRA).rev().map(|i| (format!("<extra_id_{i}>"), 0.0)));
    pieces
}

/// How often every run of two to six characters is in the words.
fn parts(words: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let mut parts: BTreeMap<String, usize> = BTreeMap::new();
    for (word, count) in words {
        let characters: Vec<char> = word.chars().collect();
        for length in 2..=6 {
            for run in characters.windows(length) {
                *parts.entry(run.iter().collect()).or_default() += count;
            }
        }
    }
    parts
}

/// Runs of letters, single digits and runs of other signs; with the space before a run, where `spaced`.
fn words(text: &str, spaced: bool) -> Vec<String> {
    let kind = |c: char| match c {
        _ if c.is_whitespace() => ' ',
        _ if c.is_alphabetic() => 'a',
        _ if c.is_numeric() => '0',
        _ => '.',
    };
    let characters: Vec<char> = text.chars().collect();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < characters.len() {
        let start = at;
        let next = |at: usize| characters.get(at).map(|c| kind(*c));
        if spaced && characters[at] == ' ' && matches!(next(at + 1), Some('a' | '.')) {
            at += 1;
        }
        let run = next(at);
        at += 1;
        while run != Some('0') && run == next(at) {
            at += 1;
        }
        if run != Some(' ') {
            words.push(characters[start..at].iter().collect());
        }
    }
    words
}

/// Byte-pair encoding: the pairs that are most frequent, one after the other; of equals the first by name.
fn learned(words: &[String], count: usize, end: &str) -> Vec<(String, String)> {
    let mut sequences: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for word in words {
        let mut symbols: Vec<String> = word.bytes().map(|byte| symbol(byte).to_string()).collect();
        if let Some(last) = symbols.last_mut() {
            last.push_str(end);
        }
        *sequences.entry(symbols).or_default() += 1;
    }
    let mut merges = Vec::new();
    while merges.len() < count {
        let mut pairs: BTreeMap<(&String, &String), usize> = BTreeMap::new();
        for (symbols, times) in &sequences {
            symbols.windows(2).for_each(|pair| *pairs.entry((&pair[0], &pair[1])).or_default() += times);
        }
        let Some(most) = pairs.values().max().copied() else { break };
        let best = pairs.into_iter().find(|(_, times)| *times == most).expect("one has the most");
        let best = (best.0.0.clone(), best.0.1.clone());
        let mut joined: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for (symbols, times) in sequences {
            *joined.entry(merged(&symbols, &best)).or_default() += times;
        }
        (sequences, merges) = (joined, [merges, vec![best]].concat());
    }
    merges
}

fn merged(symbols: &[String], (first, second): &(String, String)) -> Vec<String> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < symbols.len() {
        let is_pair = symbols[at] == *first && symbols.get(at + 1) == Some(second);
        out.push(if is_pair { format!("{first}{second}") } else { symbols[at].clone() });
        at += if is_pair { 2 } else { 1 };
    }
    out
}

/// What byte-level BPE writes for a byte.
fn symbol(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|other| !is_printable(*other)).count() as u32;
    char::from_u32(256 + before).expect("a letter")
}

/// Ids in order, each token once.
fn numbered(tokens: impl Iterator<Item = String>) -> Map<String, Value> {
    let mut vocab = Map::new();
    for token in tokens {
        let id = vocab.len();
        vocab.entry(token).or_insert(id.into());
    }
    vocab
}
