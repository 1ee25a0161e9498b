//! Text from elsewhere, made safe for a terminal: labels, prompts and messages may hold characters that move the cursor,
//! change colours, turn the writing direction round or are not seen at all. They are shown as what they are.

use std::borrow::Cow;
use std::fmt::Write;

/// Text of several lines. Ends of lines and tabs stay, everything else that is not seen is escaped: `\u{202e}`.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && c != '\n' && c != '\t')
}

/// Text for one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Text for a line, cut to so many characters.
pub(crate) fn cell(text: &str, most: usize) -> String {
    // as much as may be needed, so that a long text is not escaped for nothing
    let begin: String = text.chars().take(most + 1).collect();
    let shown = line(&begin);
    match shown.char_indices().nth(most) {
        None => shown.into_owned(),
        Some(_) => shown.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// JSON, with escapes that its readers undo. Hidden characters occur in its strings and between its tokens only, and there
/// they are spaces and ends of lines.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let wild = |c: char| is_hidden(c) && c != '\n';
    if !text.contains(wild) {
        return Cow::Borrowed(text);
    }
    let mut tame = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if wild(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(tame, "\\u{unit:04x}");
            }
        } else {
            tame.push(c);
        }
    }
    Cow::Owned(tame)
}

fn escaped(text: &str, wild: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&wild) {
        return Cow::Borrowed(text);
    }
    let mut tame = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !wild(c) => tame.push(c),
            '\n' => tame.push_str("\\n"),
            '\r' => tame.push_str("\\r"),
            '\t' => tame.push_str("\\t"),
            c => tame.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(tame)
}

/// Control characters, those that turn the writing direction, and those that take no room. What joins letters and
/// pictures of several characters (U+200C, U+200D, variation selectors) belongs to ordinary writing and stays.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_shown() {
        assert_eq!(line("\x1b[31mred\n"), "\\u{1b}[31mred\\n");
        assert_eq!(line("gnp\u{202e}exe.\u{200b}"), "gnp\\u{202e}exe.\\u{200b}");
        assert_eq!(lines("a\n\tb\r\u{9b}"), "a\n\tb\\r\\u{9b}");
        for plain in ["Größe", "日本語", "مرحبا", "👩\u{200d}🚀", "❤\u{fe0f}", "~"] {
            assert!(matches!(line(plain), Cow::Borrowed(text) if text == plain), "{plain}");
        }
    }

    #[test]
    fn cells_are_short() {
        assert_eq!(cell("abcdef", 4), "abc…");
        assert_eq!(cell("abcd", 4), "abcd");
        assert_eq!(cell("\u{202e}abc", 6), "\\u{20…");
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{e0041}\u{7f}é\n", 1] });
        for text in [value.to_string(), format!("{value:#}")] {
            let tame = json(&text);
            assert!(!tame.contains(|c| is_hidden(c) && c != '\n'), "{tame}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&tame).ok(), Some(value.clone()));
        }
    }
}
