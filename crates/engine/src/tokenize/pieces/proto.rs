//! sentencepiece's file: a protobuf message, of which few fields are read. It may be anybody's, so that every length is checked
//! against what is there.

use super::{Algorithm, Kind};

/// Ids are numbers of 32 bits, and published vocabularies have a few hundred thousand.
const MOST_PIECES: usize = 4_000_000;
/// Bytes of a piece; published ones have up to 64.
const LONGEST_PIECE: usize = 512;

/// What is read of the file.
pub(super) struct Model {
    pub(super) pieces: Vec<(String, f32, Kind)>,
    pub(super) algorithm: Algorithm,
    pub(super) byte_fallback: bool,
    pub(super) normalizer: Rules,
}

/// How texts are prepared.
pub(super) struct Rules {
    /// Which characters become which others, as its own compact table.
    pub(super) charsmap: Vec<u8>,
    pub(super) spaces: Spaces,
}

/// What happens to spaces.
#[derive(Clone, Copy)]
pub(super) struct Spaces {
    /// A space stands before every text.
    pub(super) dummy_prefix: bool,
    /// That space comes at the end.
    pub(super) is_suffix: bool,
    /// Spaces at both ends go, and several become one.
    pub(super) remove_extra: bool,
    /// A mark stands for spaces.
    pub(super) escape: bool,
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
    /// Of a kind that no field here has.
    Other,
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl Model {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut this = Self {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            byte_fallback: false,
            normalizer: Rules {
                charsmap: Vec::new(),
                spaces: Spaces { dummy_prefix: true, is_suffix: false, remove_extra: true, escape: true },
            },
        };
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => this.pieces.push(read_piece(piece)?),
                (2, Value::Bytes(trainer)) => this.read_trainer(trainer)?,
                (3, Value::Bytes(rules)) => this.normalizer.read(rules)?,
                _ => {}
            }
            if this.pieces.len() > MOST_PIECES {
                return Err(format!("it has more than {MOST_PIECES} pieces"));
            }
        }
        match this.pieces.is_empty() {
            true => Err("it has no pieces: this is not a file of sentencepiece's".into()),
            false => Ok(this),
        }
    }

    fn read_trainer(&mut self, bytes: &[u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            match field? {
                (3, Value::Number(1)) => self.algorithm = Algorithm::Unigram,
                (3, Value::Number(2)) => self.algorithm = Algorithm::Bpe,
                (3, Value::Number(other)) => {
                    return Err(format!("its model is of kind {other}; 1 (unigram) and 2 (bpe) are read"));
                }
                (24, Value::Number(number)) => self.normalizer.spaces.is_suffix = number != 0,
                (35, Value::Number(number)) => self.byte_fallback = number != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Rules {
    fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            match field? {
                (2, Value::Bytes(charsmap)) => self.charsmap = charsmap.to_vec(),
                (3, Value::Number(number)) => self.spaces.dummy_prefix = number != 0,
                (4, Value::Number(number)) => self.spaces.remove_extra = number != 0,
                (5, Value::Number(number)) => self.spaces.escape = number != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

fn read_piece(bytes: &[u8]) -> Result<(String, f32, Kind), String> {
    let (mut text, mut score, mut kind) = (None, 0.0, Kind::Normal);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(piece)) => text = Some(std::str::from_utf8(piece).map_err(|_| "a piece is not UTF-8")?),
            (2, Value::Float(number)) => score = number,
            (3, Value::Number(number)) => kind = kind_of(number)?,
            _ => {}
        }
    }
    match text {
        Some("") => Err("a piece is empty".into()),
        Some(text) if text.len() > LONGEST_PIECE => Err(format!("a piece is longer than {LONGEST_PIECE} bytes")),
        Some(text) if !score.is_finite() => Err(format!("the score of {text:?} is not a number")),
        Some(text) => Ok((text.to_owned(), score, kind)),
        None => Err("a piece has no text".into()),
    }
}

fn kind_of(number: u64) -> Result<Kind, String> {
    Ok(match number {
        1 => Kind::Normal,
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::Whole,
        5 => Kind::Unused,
        6 => Kind::Byte,
        other => return Err(format!("a piece is of kind {other}; 1 to 6 are known")),
    })
}

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for place in 0..10 {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            // nothing can be read behind it
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "it is cut short, or not a file of sentencepiece's".to_owned()))
    }
}
