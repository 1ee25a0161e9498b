//! The likeliest way to cut a text into pieces (Kudo, 2018), in the order of additions and comparisons that sentencepiece has.

use super::{Kind, Part, Vocabulary, char_at};

/// How much less likely the unknown is than the least likely piece.
const UNKNOWN_PENALTY: f32 = 10.0;

/// The best way up to a place.
#[derive(Clone, Copy)]
struct Best {
    score: f32,
    start: usize,
    id: u32,
}

pub(super) fn cut(vocabulary: &Vocabulary, text: &str) -> Vec<Part> {
    let (least, most) = vocabulary.scores;
    let unknown = least - UNKNOWN_PENALTY;
    let mut best: Vec<Option<Best>> = vec![None; text.len() + 1];
    let mut start = 0;
    while start < text.len() {
        let so_far = best[start].map_or(0.0, |way| way.score);
        let mut offer = |end: usize, score: f32, id: u32| {
            if best[end].is_none_or(|way| score > way.score) {
                best[end] = Some(Best { score, start, id });
            }
        };
        let (first, mut is_known) = (char_at(text, start), false);
        let most_bytes = vocabulary.longest.min(text.len() - start);
        for length in (first..=most_bytes).filter(|length| text.is_char_boundary(start + length)) {
            let Some((id, score, kind)) = vocabulary.find(&text[start..start + length]) else { continue };
            let score = match kind {
                Kind::Unused => continue,
                // always chosen
                Kind::Whole => (length as f64 * f64::from(most) - 0.1) as f32,
                _ => score,
            };
            offer(start + length, score + so_far, id);
            is_known |= length == first;
        }
        if !is_known {
            offer(start + first, unknown + so_far, vocabulary.unknown);
        }
        start += first;
    }
    back(&best)
}

/// From the end to the beginning, and turned around.
fn back(best: &[Option<Best>]) -> Vec<Part> {
    let (mut parts, mut end) = (Vec::new(), best.len() - 1);
    while let Some(Best { start, id, .. }) = best[end].filter(|_| end > 0) {
        parts.push(Part { start, end, id });
        end = start;
    }
    parts.reverse();
    parts
}
