//! Tokenizers of sentencepiece (Kudo & Richardson, 2018), read from the one file that they are published as: `spiece.model`
//! of T5, `tokenizer.model` of others. The ids are those of its own library.

mod bpe;
mod charsmap;
mod normalizer;
mod proto;
mod unigram;

use std::collections::HashMap;

use normalizer::Normalizer;

/// What a piece stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    /// For text that no piece covers.
    Unknown,
    /// A role, such as the end of a text: never found in one.
    Control,
    /// Always kept whole.
    Whole,
    /// Found, and cut into what it was merged from.
    Unused,
    /// One byte of text that no piece covers.
    Byte,
}

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// Into the likeliest pieces.
    Unigram,
    /// By merging what scores best.
    Bpe,
}

/// What the file holds of pieces.
struct Vocabulary {
    pieces: Vec<(String, f32, Kind)>,
    /// Ids of what may be found in a text.
    found: HashMap<String, u32>,
    unknown: u32,
    /// The least and the greatest of ordinary pieces.
    scores: (f32, f32),
    /// Bytes of the longest that may be found.
    longest: usize,
    /// Ids of the 256 bytes, where the model falls back on them.
    bytes: Option<Vec<u32>>,
}

/// A part of a normalized text, and its piece.
struct Part {
    start: usize,
    end: usize,
    id: u32,
}

/// A tokenizer.
pub(super) struct Pieces {
    algorithm: Algorithm,
    vocabulary: Vocabulary,
    normalizer: Normalizer,
}

/// Ids, and the places of a text that the vocabulary lacks.
pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    /// The text as it was cut, with spaces for the mark that stands for them.
    pub(super) text: String,
    /// Where in there nothing is known.
    pub(super) unknown: Vec<(usize, usize)>,
}

/// What sentencepiece writes for a space.
const SPACE: &str = "\u{2581}";

impl Pieces {
    /// Reads a model; what is wrong with it is said in a few words.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let model = proto::Model::read(bytes)?;
        let vocabulary = Vocabulary::of(model.pieces, model.byte_fallback)?;
        let whole = vocabulary.pieces.iter().filter(|(.., kind)| *kind == Kind::Whole);
        let whole = whole.map(|(piece, ..)| piece.clone()).collect();
        Ok(Self { algorithm: model.algorithm, normalizer: Normalizer::of(&model.normalizer, whole)?, vocabulary })
    }

    /// The id of a piece of any kind.
    pub(super) fn id(&self, piece: &str) -> Option<u32> {
        let place = self.vocabulary.pieces.iter().position(|(known, ..)| known == piece)?;
        u32::try_from(place).ok()
    }

    /// The ids of a text, without any that frame it.
    pub(super) fn encode(&self, text: &str) -> Encoded {
        let normalized = self.normalizer.normalize(text);
        let parts = match self.algorithm {
            Algorithm::Unigram => unigram::cut(&self.vocabulary, &normalized),
            Algorithm::Bpe => bpe::cut(&self.vocabulary, &normalized, self.normalizer.whole()),
        };
        let (mut ids, mut unknown) = (Vec::with_capacity(parts.len()), Vec::<(usize, usize)>::new());
        for Part { start, end, id } in parts {
            if id != self.vocabulary.unknown {
                ids.push(id);
            } else if let Some(bytes) = &self.vocabulary.bytes {
                ids.extend(normalized.as_bytes()[start..end].iter().map(|byte| bytes[usize::from(*byte)]));
            } else if let Some((_, last)) = unknown.last_mut().filter(|(_, last)| *last == start) {
                // what follows something unknown belongs to it
                *last = end;
            } else {
                ids.push(id);
                unknown.push((start, end));
            }
        }
        // one byte shorter than the mark each: places move with it
        let place = |at: usize| at - (SPACE.len() - 1) * normalized[..at].matches(SPACE).count();
        let unknown = unknown.into_iter().map(|(start, end)| (place(start), place(end))).collect();
        Encoded { ids, text: normalized.replace(SPACE, " "), unknown }
    }
}

impl Vocabulary {
    fn of(pieces: Vec<(String, f32, Kind)>, byte_fallback: bool) -> Result<Self, String> {
        let (mut found, mut unknown, mut longest) = (HashMap::with_capacity(pieces.len()), None, 0);
        let mut bytes: Vec<Option<u32>> = vec![None; 256];
        let mut others = std::collections::HashSet::new();
        for (id, (piece, _, kind)) in (0u32..).zip(&pieces) {
            let twice = || format!("the piece {piece:?} is there twice");
            match kind {
                Kind::Normal | Kind::Whole | Kind::Unused => {
                    longest = longest.max(piece.len());
                    if found.insert(piece.clone(), id).is_some() {
                        return Err(twice());
                    }
                    continue;
                }
                Kind::Unknown if unknown.replace(id).is_some() => return Err("two pieces stand for the unknown".into()),
                Kind::Byte => {
                    let byte = byte_of(piece).ok_or_else(|| format!("{piece:?} is not a byte, such as <0x0A>"))?;
                    bytes[usize::from(byte)] = Some(id);
                }
                Kind::Unknown | Kind::Control => {}
            }
            if !others.insert(piece) {
                return Err(twice());
            }
        }
        let normal = || pieces.iter().filter(|(.., kind)| *kind == Kind::Normal).map(|(_, score, _)| *score);
        // the library begins its search for the greatest with the least number above zero
        let scores = (normal().fold(f32::MAX, f32::min), normal().fold(f32::MIN_POSITIVE, f32::max));
        let unknown = unknown.ok_or("no piece stands for the unknown")?;
        let all: Option<Vec<u32>> = bytes.into_iter().collect();
        let bytes = match (byte_fallback, all) {
            (false, _) => None,
            (true, Some(all)) => Some(all),
            (true, None) => return Err("it falls back on bytes and lacks some of the 256".into()),
        };
        Ok(Self { pieces, found, unknown, scores, longest, bytes })
    }

    /// The piece that this text is, where it may be found.
    fn find(&self, text: &str) -> Option<(u32, f32, Kind)> {
        let id = *self.found.get(text)?;
        let (_, score, kind) = &self.pieces[id as usize];
        Some((id, *score, *kind))
    }
}

/// The byte of a piece such as `<0x0A>`.
fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>').filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}

/// Bytes of the first character of a text that begins here.
fn char_at(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}
