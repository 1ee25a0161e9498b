//! Byte-pair encoding (Sennrich et al., 2016) as sentencepiece does it: of all neighbours that make a piece, those that make the
//! one with the best score are merged first.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::{Kind, Part, Vocabulary, char_at};

/// A part of the text, between its neighbours of the moment.
struct Symbol {
    start: usize,
    end: usize,
    before: Option<usize>,
    after: Option<usize>,
    /// What is kept whole does not merge.
    is_frozen: bool,
}

/// Two neighbours that could be one.
struct Pair {
    left: usize,
    right: usize,
    score: f32,
    /// Bytes of both: where they are no longer what they were, the pair is none.
    size: usize,
}

pub(super) fn cut(vocabulary: &Vocabulary, text: &str, whole: &[String]) -> Vec<Part> {
    let mut symbols = symbols(text, whole);
    // what an unused piece was merged from, to be cut there again
    let mut merged = HashMap::<&str, (&str, &str)>::new();
    let mut agenda = BinaryHeap::new();
    let consider = |agenda: &mut BinaryHeap<Pair>, symbols: &[Symbol], left: usize, right: usize| -> bool {
        let (l, r) = (&symbols[left], &symbols[right]);
        if l.is_frozen || r.is_frozen {
            return false;
        }
        let Some((_, score, kind)) = vocabulary.find(&text[l.start..r.end]) else { return false };
        agenda.push(Pair { left, right, score, size: r.end - l.start });
        kind == Kind::Unused
    };
    let halves = |symbols: &[Symbol], left: usize, right: usize| {
        let (l, r) = (&symbols[left], &symbols[right]);
        (&text[l.start..r.end], (&text[l.start..l.end], &text[r.start..r.end]))
    };
    for right in 1..symbols.len() {
        if consider(&mut agenda, &symbols, right - 1, right) {
            merged.extend([halves(&symbols, right - 1, right)]);
        }
    }
    while let Some(Pair { left, right, size, .. }) = agenda.pop() {
        let (l, r) = (&symbols[left], &symbols[right]);
        let is_gone = l.start == l.end || r.start == r.end || (l.end - l.start) + (r.end - r.start) != size;
        if is_gone {
            continue;
        }
        let after = r.after;
        symbols[left].end = symbols[right].end;
        symbols[left].after = after;
        symbols[right].start = symbols[right].end;
        if let Some(after) = after {
            symbols[after].before = Some(left);
        }
        let neighbours = [symbols[left].before.map(|before| (before, left)), after.map(|after| (left, after))];
        for (left, right) in neighbours.into_iter().flatten() {
            if consider(&mut agenda, &symbols, left, right) {
                merged.extend([halves(&symbols, left, right)]);
            }
        }
    }
    let mut parts = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.start < symbol.end) {
        segment(vocabulary, &merged, &text[symbol.start..symbol.end], symbol.start, &mut parts);
    }
    parts
}

/// Single characters, and what is kept whole.
fn symbols(text: &str, whole: &[String]) -> Vec<Symbol> {
    let (mut symbols, mut start) = (Vec::<Symbol>::new(), 0);
    while start < text.len() {
        let kept = whole.iter().find(|piece| text[start..].starts_with(&***piece));
        let end = start + kept.map_or_else(|| char_at(text, start), String::len);
        let number = symbols.len();
        let after = (end < text.len()).then_some(number + 1);
        symbols.push(Symbol { start, end, before: number.checked_sub(1), after, is_frozen: kept.is_some() });
        start = end;
    }
    symbols
}

/// The pieces of a part: itself, or what it was merged from where it is not to be used. Without recursion: a hostile file may
/// nest as deep as a piece is long.
fn segment(
    vocabulary: &Vocabulary,
    merged: &HashMap<&str, (&str, &str)>,
    part: &str,
    mut start: usize,
    parts: &mut Vec<Part>,
) {
    let mut open = vec![part];
    while let Some(part) = open.pop() {
        let piece = vocabulary.find(part);
        if let (Some((.., Kind::Unused)), Some((left, right))) = (piece, merged.get(part)) {
            open.extend([*right, *left]);
            continue;
        }
        let id = piece.map_or(vocabulary.unknown, |(id, ..)| id);
        parts.push(Part { start, end: start + part.len(), id });
        start += part.len();
    }
}

impl Ord for Pair {
    /// The best score first, and of equals the one further left.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}
