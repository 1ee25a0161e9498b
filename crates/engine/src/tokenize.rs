//! Text to token ids, from the files that published repositories carry.

mod pieces;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;

use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use crate::error::{Error, Result};
use crate::weights::Checkpoint;
use pieces::Pieces;

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// How CLIP cuts text before byte-pair encoding: contractions, runs of letters, single digits, other runs.
const CLIP_PATTERN: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// CLIP's tokenizer: byte-level BPE framed by a start and an end token, padded to a fixed length.
pub struct ClipTokenizer {
    inner: Tokenizer,
    start: u32,
    end: u32,
    pad: u32,
}

impl ClipTokenizer {
    /// CLIP text models have this many positions.
    pub const LENGTH: usize = 77;

    /// Reads `vocab.json`, `merges.txt` and the pad token of `tokenizer_config.json` from a folder such as
    /// `tokenizer`.
    ///
    /// # Errors
    /// Files that are absent or of another kind.
    pub fn load(checkpoint: &Checkpoint, folder: &str) -> Result<Self> {
        let file = format!("{folder}/vocab.json");
        let damaged = |reason: String| Error::Damaged { path: checkpoint.path(&file), reason };
        let vocab: Vocab = serde_json::from_slice(&checkpoint.read(&file)?).map_err(|e| damaged(e.to_string()))?;
        let id = |token: &str| vocab.get(token).copied().ok_or_else(|| damaged(format!("it has no {token}")));
        let pad_token = pad_token(checkpoint, folder)?;
        let (start, end, pad) = (id(START)?, id(END)?, id(&pad_token)?);
        let merges = read_merges(checkpoint, &format!("{folder}/merges.txt"))?;
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .end_of_word_suffix("</w>".into())
            .unk_token(END.into())
            .build()
            .map_err(|e| damaged(e.to_string()))?;
        let mut inner = Tokenizer::new(model);
        prepare_clip(&mut inner, &pad_token).map_err(|e| damaged(e.to_string()))?;
        Ok(Self { inner, start, end, pad })
    }

    /// Exactly 77 ids; a longer text loses its tail, never its end token.
    ///
    /// # Errors
    /// None in practice: byte-level BPE knows every text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_to(text, Self::LENGTH)
    }

    /// The same with another length, for models with longer tables of positions.
    ///
    /// # Errors
    /// As [`ClipTokenizer::encode`].
    pub fn encode_to(&self, text: &str, length: usize) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, false).map_err(bad_prompt)?;
        let mut ids = vec![self.start];
        ids.extend(encoding.get_ids().iter().take(length.saturating_sub(2)));
        ids.push(self.end);
        ids.resize(length, self.pad);
        Ok(ids)
    }
}

fn read_merges(checkpoint: &Checkpoint, file: &str) -> Result<Merges> {
    let bytes = checkpoint.read(file)?;
    let damaged = |reason: String| Error::Damaged { path: checkpoint.path(file), reason };
    let text = std::str::from_utf8(&bytes).map_err(|e| damaged(e.to_string()))?;
    let pair = |(number, line): (usize, &str)| match line.split_once(' ') {
        Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
        None => Err(damaged(format!("line {} is not a pair", number + 1))),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.trim().is_empty());
    lines.map(pair).collect()
}

fn pad_token(checkpoint: &Checkpoint, folder: &str) -> Result<String> {
    named_token(checkpoint, folder, "pad_token", END)
}

/// A special token by its role in `tokenizer_config.json`, where it is a text or an object that holds one.
fn named_token(checkpoint: &Checkpoint, folder: &str, role: &str, usual: &str) -> Result<String> {
    let file = format!("{folder}/tokenizer_config.json");
    if !checkpoint.has(&file) {
        return Ok(usual.into());
    }
    let config = checkpoint.config(&file)?;
    let token = config.get(role).and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()));
    Ok(token.unwrap_or(usual).to_owned())
}

/// How the text is cleaned and cut, and which tokens a prompt may spell out.
fn prepare_clip(inner: &mut Tokenizer, pad_token: &str) -> tokenizers::Result<()> {
    inner.with_normalizer(Some(clip_normalizer()?))?;
    inner.with_pre_tokenizer(Some(clip_pre_tokenizer()?));
    // published configurations look for the start token in the lowercased text, for the others in the text as it is
    let special = |token: &str| AddedToken::from(token, true).normalized(token == START);
    inner.add_special_tokens([START, END, pad_token].map(special))?;
    Ok(())
}

fn clip_normalizer() -> tokenizers::Result<NormalizerWrapper> {
    let spaces = Replace::new(tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".into()), " ")?;
    Ok(Sequence::new(vec![NFC.into(), spaces.into(), Lowercase.into()]).into())
}

fn clip_pre_tokenizer() -> tokenizers::Result<PreTokenizerWrapper> {
    let split = Split::new(SplitPattern::Regex(CLIP_PATTERN.into()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::new(false, true, true);
    Ok(tokenizers::pre_tokenizers::sequence::Sequence::new(vec![split.into(), bytes.into()]).into())
}

/// Files of sentencepiece, as T5 and others name them.
const PIECES: [&str; 2] = ["spiece.model", "tokenizer.model"];

/// T5's and UMT5's tokenizer: whatever `tokenizer.json` says, or sentencepiece's own file where that is all there is; cut and
/// padded to a length that the caller chooses.
pub struct T5Tokenizer {
    inner: Words,
    end: u32,
    /// `model_max_length` of the configuration.
    pub max_length: usize,
}

impl T5Tokenizer {
    /// Reads `tokenizer.json`, or else `spiece.model` or `tokenizer.model`, and `tokenizer_config.json` from a folder such as
    /// `tokenizer_2`.
    ///
    /// # Errors
    /// Files that are absent or of another kind.
    pub fn load(checkpoint: &Checkpoint, folder: &str) -> Result<Self> {
        let named = |name: &str| format!("{folder}/{name}");
        let whole = named("tokenizer.json");
        let pieces = PIECES.map(named).into_iter().find(|file| checkpoint.has(file));
        let file = pieces.filter(|_| !checkpoint.has(&whole)).unwrap_or(whole);
        let damaged = |reason: String| Error::Damaged { path: checkpoint.path(&file), reason };
        let bytes = checkpoint.read(&file)?;
        let inner = match file.ends_with(".json") {
            true => Words::of_json(&bytes),
            false => Pieces::read(&bytes).map(|pieces| Words::Pieces(Box::new(pieces))),
        };
        let inner = inner.map_err(damaged)?;
        let end = inner.id("</s>").ok_or_else(|| damaged("it has no </s>".into()))?;
        let config = format!("{folder}/tokenizer_config.json");
        let max_length = match checkpoint.has(&config) {
            // unset lengths are published as 10^30
            true => checkpoint.config(&config)?.number_or("model_max_length", 512.0)?.min(512.0) as usize,
            false => 512,
        };
        Ok(Self { inner, end, max_length })
    }

    /// The words of a text that the vocabulary lacks, wholly or in part, each once, in their order. What is no letter
    /// and no digit is not missed.
    ///
    /// # Errors
    /// A text that the model behind the file cannot encode.
    pub fn unknown_words(&self, text: &str) -> Result<Vec<String>> {
        let (text, places) = self.inner.unknown(text)?;
        let (mut words, mut seen, mut done) = (Vec::new(), HashSet::new(), 0);
        for (start, end) in places {
            let lacks = |part: &str| part.contains(char::is_alphanumeric);
            if start < done || !text.get(start..end).is_some_and(lacks) {
                continue;
            }
            let begin = text[..start].rfind(char::is_whitespace).map_or(0, |at| at + char_length(&text[at..]));
            done = text[end..].find(char::is_whitespace).map_or(text.len(), |at| end + at);
            let word = text[begin..done].trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            if seen.insert(word.clone()) {
                words.push(word);
            }
        }
        Ok(words)
    }

    /// Exactly `length` ids: the text's, the end token, zeros.
    ///
    /// # Errors
    /// A text that the model behind the file cannot encode.
    pub fn encode(&self, text: &str, length: usize) -> Result<Vec<u32>> {
        Ok(self.encode_counted(text, length)?.0)
    }

    /// The same, and how many of them are the text's and its end.
    ///
    /// # Errors
    /// As [`T5Tokenizer::encode`].
    pub fn encode_counted(&self, text: &str, length: usize) -> Result<(Vec<u32>, usize)> {
        let mut ids = self.inner.ids(text)?;
        ids.truncate(length.saturating_sub(1));
        ids.push(self.end);
        let real = ids.len();
        ids.resize(length, 0);
        Ok((ids, real))
    }
}

/// What cuts texts.
enum Words {
    Json(Box<Tokenizer>),
    Pieces(Box<Pieces>),
}

/// Where a part of a text begins and ends.
type Place = (usize, usize);

impl Words {
    fn of_json(bytes: &[u8]) -> std::result::Result<Self, String> {
        let mut inner = Tokenizer::from_bytes(bytes).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        Ok(Self::Json(Box::new(inner)))
    }

    fn id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Json(inner) => inner.token_to_id(token),
            Self::Pieces(pieces) => pieces.id(token),
        }
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(match self {
            Self::Json(inner) => inner.encode(text, false).map_err(bad_prompt)?.get_ids().to_vec(),
            Self::Pieces(pieces) => pieces.encode(text).ids,
        })
    }

    /// The text as it was cut, and where in it the vocabulary has nothing.
    fn unknown<'a>(&self, text: &'a str) -> Result<(Cow<'a, str>, Vec<Place>)> {
        let inner = match self {
            Self::Json(inner) => inner,
            Self::Pieces(pieces) => {
                let encoded = pieces.encode(text);
                return Ok((encoded.text.into(), encoded.unknown));
            }
        };
        let encoding = inner.encode(text, false).map_err(bad_prompt)?;
        let unknown = inner.token_to_id("<unk>");
        let each = encoding.get_ids().iter().zip(encoding.get_offsets());
        let places = each.filter(|(id, _)| Some(**id) == unknown).map(|(_, place)| *place).collect();
        Ok((text.into(), places))
    }
}

/// Llama 3's tokenizer: whatever `tokenizer.json` says, behind a token that begins the text.
pub struct LlamaTokenizer {
    inner: Tokenizer,
    begin: u32,
    pad: u32,
}

impl LlamaTokenizer {
    /// Reads `tokenizer.json` and the names of two tokens in `tokenizer_config.json` from a folder such as `tokenizer_4`.
    /// What ends a text there is what pads it here, on the right, as HiDream-I1 was trained.
    ///
    /// # Errors
    /// Files that are absent or of another kind.
    pub fn load(checkpoint: &Checkpoint, folder: &str) -> Result<Self> {
        let published = Published::read(checkpoint, folder)?;
        let id = |role: &str, usual: &str| published.id(&named_token(checkpoint, folder, role, usual)?);
        let (begin, pad) = (id("bos_token", "<|begin_of_text|>")?, id("eos_token", "<|eot_id|>")?);
        Ok(Self { inner: published.inner, begin, pad })
    }

    /// Exactly `length` ids, and how many of them are the text's and its beginning; a longer text loses its tail.
    ///
    /// # Errors
    /// A text that the model behind the file cannot encode.
    pub fn encode_counted(&self, text: &str, length: usize) -> Result<(Vec<u32>, usize)> {
        let encoding = self.inner.encode(text, false).map_err(bad_prompt)?;
        let mut ids = vec![self.begin];
        ids.extend(encoding.get_ids().iter().take(length.saturating_sub(1)));
        let real = ids.len();
        ids.resize(length, self.pad);
        Ok((ids, real))
    }
}

/// Qwen2's tokenizer: whatever `tokenizer.json` says. Nothing is put around a text: what talks to the model spells out the
/// tokens that begin and end each turn.
pub struct QwenTokenizer {
    inner: Tokenizer,
}

impl QwenTokenizer {
    /// Begins and ends a turn.
    pub const TURN: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

    /// Reads `tokenizer.json` from a folder such as `processor`.
    ///
    /// # Errors
    /// A file that is absent or of another kind, or that would cut the tokens of a turn into pieces.
    pub fn load(checkpoint: &Checkpoint, folder: &str) -> Result<Self> {
        let published = Published::read(checkpoint, folder)?;
        Self::TURN.iter().try_for_each(|token| published.id(token).map(drop))?;
        Ok(Self { inner: published.inner })
    }

    /// At most `most` ids; a longer text loses its tail.
    ///
    /// # Errors
    /// A text that the model behind the file cannot encode.
    pub fn encode(&self, text: &str, most: usize) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, false).map_err(bad_prompt)?;
        Ok(encoding.get_ids().iter().copied().take(most).collect())
    }
}

/// A `tokenizer.json` as it was published, but for padding and truncation: these are the caller's.
struct Published {
    path: PathBuf,
    inner: Tokenizer,
}

impl Published {
    fn read(checkpoint: &Checkpoint, folder: &str) -> Result<Self> {
        let file = format!("{folder}/tokenizer.json");
        let path = checkpoint.path(&file);
        let damaged = |e: tokenizers::Error| Error::Damaged { path: path.clone(), reason: e.to_string() };
        let mut inner = Tokenizer::from_bytes(checkpoint.read(&file)?).map_err(damaged)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(damaged)?;
        Ok(Self { path, inner })
    }

    fn id(&self, token: &str) -> Result<u32> {
        let missing = || Error::Damaged { path: self.path.clone(), reason: format!("it has no {token}") };
        self.inner.token_to_id(token).ok_or_else(missing)
    }
}

/// Bytes of the character that a text begins with.
fn char_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function for map_err")]
fn bad_prompt(e: tokenizers::Error) -> Error {
    Error::Parameter { name: "prompt", problem: format!("cannot be tokenized: {e}") }
}
