//! kitty's graphics protocol (sw.kovidgoyal.net/kitty/graphics-protocol): a PNG in pieces of base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The most that one escape sequence may carry.
const PIECE: usize = 4096;

/// `a=T` shows at once, `f=100` is PNG, `q=2` asks the terminal not to answer: nobody would read it.
pub(super) fn sent(png: &[u8]) -> String {
    let data = BASE64.encode(png);
    let mut text = String::with_capacity(data.len() + 64);
    let mut rest = data.as_str();
    let mut keys = "a=T,f=100,q=2,";
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(PIECE));
        let more = u8::from(!after.is_empty());
        text += &format!("\x1b_G{keys}m={more};{piece}\x1b\\");
        (rest, keys) = (after, "");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_short_and_make_the_whole() {
        for length in [1, 3072, 3073, 10_000] {
            let png: Vec<u8> = (0..length).map(|n| n as u8).collect();
            let text = sent(&png);
            let pieces: Vec<(&str, &str)> = text
                .split_terminator("\x1b\\")
                .map(|piece| piece.strip_prefix("\x1b_G").and_then(|p| p.split_once(';')).expect("a piece"))
                .collect();
            let (last, others) = pieces.split_last().expect("at least one");
            assert!(pieces[0].0.starts_with("a=T,f=100,q=2,m="), "{length}");
            assert!(
                last.0.ends_with("m=0")
                    && others.iter().all(|(keys, data)| keys.ends_with("m=1") && data.len() == PIECE)
            );
            let whole: String = pieces.iter().map(|(_, data)| *data).collect();
            assert_eq!(BASE64.decode(whole).ok(), Some(png));
        }
    }
}
