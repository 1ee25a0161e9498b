//! A text as sentencepiece cuts it: characters replaced, spaces tidied and marked.

use std::borrow::Cow;

use super::charsmap::Charsmap;
use super::proto::{Rules, Spaces};
use super::{SPACE, char_at};

/// They are all tried at every character; published models have up to a few hundred.
const MOST_WHOLE: usize = 10_000;

pub(super) struct Normalizer {
    charsmap: Option<Charsmap>,
    spaces: Spaces,
    /// What is kept as it is, longest first.
    whole: Vec<String>,
}

impl Normalizer {
    /// `whole` is what no rule changes.
    pub(super) fn of(rules: &Rules, mut whole: Vec<String>) -> Result<Self, String> {
        let charsmap = (!rules.charsmap.is_empty()).then(|| Charsmap::read(&rules.charsmap)).transpose()?;
        if whole.len() > MOST_WHOLE {
            return Err(format!("it has more than {MOST_WHOLE} pieces that are kept whole"));
        }
        whole.sort_by_key(|piece| std::cmp::Reverse(piece.len()));
        Ok(Self { charsmap, spaces: rules.spaces, whole })
    }

    /// What is kept as it is, longest first.
    pub(super) fn whole(&self) -> &[String] {
        &self.whole
    }

    pub(super) fn normalize(&self, mut text: &str) -> String {
        let Spaces { dummy_prefix, is_suffix, remove_extra, escape } = self.spaces;
        let space = if escape { SPACE } else { " " };
        while remove_extra && let (length, " ") = self.prefix(text) {
            text = &text[length..];
        }
        if text.is_empty() {
            return String::new();
        }
        let mut out = String::with_capacity(text.len() + SPACE.len());
        if dummy_prefix && !is_suffix {
            out.push_str(space);
        }
        let mut is_after_space = remove_extra;
        while !text.is_empty() {
            let (length, mut part) = self.prefix(text);
            text = &text[length..];
            if is_after_space {
                part = part.trim_start_matches(' ');
            }
            if !part.is_empty() {
                out.push_str(&if escape { part.replace(' ', SPACE).into() } else { Cow::Borrowed(part) });
                is_after_space = part.ends_with(' ');
            }
            is_after_space &= remove_extra;
        }
        while remove_extra && out.ends_with(space) {
            out.truncate(out.len() - space.len());
        }
        if dummy_prefix && is_suffix {
            out.push_str(space);
        }
        out
    }

    /// How many bytes the first character is, or the first characters that are replaced together, and what becomes of it; nothing
    /// of nothing.
    fn prefix<'a>(&'a self, text: &'a str) -> (usize, &'a str) {
        if text.is_empty() {
            return (0, "");
        }
        if let Some(piece) = self.whole.iter().find(|piece| text.starts_with(&***piece)) {
            return (piece.len(), piece);
        }
        let length = char_at(text, 0);
        self.charsmap.as_ref().and_then(|map| map.longest(text)).unwrap_or((length, &text[..length]))
    }
}
