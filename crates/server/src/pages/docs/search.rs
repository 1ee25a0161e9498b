//! Looking for words in the documents: which sections have all of them.

use std::sync::OnceLock;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde::Serialize;

use super::{DOCUMENTS, Document, name_headings, title};

/// Longest query that is looked at, in characters.
const QUERY: usize = 100;
/// Words of it that count.
const WORDS: usize = 8;
/// Sections that are shown.
const SHOWN: usize = 20;
/// Characters of an excerpt, before the first word that was found and in all.
const BEFORE: usize = 60;
const EXCERPT: usize = 200;
/// A word in a heading counts as much as so many in the text.
const HEADING: usize = 10;
/// A word counts no more often than this, or long lists would have everything.
const MANY: usize = 20;
/// All of the query in a heading, as it was typed, counts as much as so many words.
const PHRASE: usize = 1000;

/// What stands below one heading.
struct Section {
    document: &'static Document,
    /// By which links find it; nothing for what stands before the first one.
    anchor: String,
    heading: String,
    text: String,
    /// The same in small letters, to be looked through.
    small: (String, String),
}

/// A section that has what was looked for.
#[derive(Debug, Serialize)]
pub(super) struct Hit {
    name: &'static str,
    title: &'static str,
    anchor: String,
    heading: String,
    excerpt: String,
}

/// The part of a query that is looked at.
pub(super) fn shortened(query: &str) -> String {
    query.trim().chars().take(QUERY).collect()
}

/// The sections with all words of a query, those with the most of them first.
pub(super) fn search(query: &str) -> Vec<Hit> {
    let words: Vec<String> =
        shortened(query).to_lowercase().split_whitespace().take(WORDS).map(str::to_owned).collect();
    if words.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(usize, &Section)> =
        sections().iter().filter_map(|section| Some((section.points(&words)?, section))).collect();
    // of the same number the earlier one goes first
    found.sort_by_key(|(points, _)| std::cmp::Reverse(*points));
    found.into_iter().take(SHOWN).map(|(_, section)| section.hit(&words)).collect()
}

fn sections() -> &'static [Section] {
    static SECTIONS: OnceLock<Vec<Section>> = OnceLock::new();
    SECTIONS.get_or_init(|| DOCUMENTS.iter().flat_map(sections_of).collect())
}

fn sections_of(document: &'static Document) -> Vec<Section> {
    let mut events: Vec<Event<'_>> = Parser::new_ext(document.text, Options::ENABLE_TABLES).collect();
    name_headings(&mut events);
    let mut all = Vec::new();
    let (mut anchor, mut heading, mut text, mut in_heading) = (String::new(), String::new(), String::new(), false);
    for event in events {
        match event {
            Event::Start(Tag::Heading { id, .. }) => {
                all.extend(Section::new(document, &mut anchor, &mut heading, &mut text));
                anchor = id.map(|id| id.to_string()).unwrap_or_default();
                in_heading = true;
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Text(words) | Event::Code(words) if in_heading => heading.push_str(&words),
            Event::Text(words) | Event::Code(words) => text.push_str(&words),
            Event::SoftBreak | Event::HardBreak | Event::End(_) => text.push(' '),
            _ => {}
        }
    }
    all.extend(Section::new(document, &mut anchor, &mut heading, &mut text));
    all
}

impl Section {
    /// Takes what was gathered, if it is something.
    fn new(document: &'static Document, anchor: &mut String, heading: &mut String, text: &mut String) -> Option<Self> {
        let (anchor, heading, text) = (std::mem::take(anchor), std::mem::take(heading), std::mem::take(text));
        if heading.is_empty() && text.trim().is_empty() {
            return None;
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let small = (heading.to_lowercase(), text.to_lowercase());
        Some(Self { document, anchor, heading, text, small })
    }

    /// How much of the words it has; `None` where one is missing.
    fn points(&self, words: &[String]) -> Option<usize> {
        let (heading, text) = &self.small;
        let phrase = if heading.contains(&words.join(" ")) { PHRASE } else { 0 };
        words.iter().try_fold(phrase, |points, word| {
            let times = |text: &str| text.matches(word.as_str()).take(MANY).count();
            let here = HEADING * times(heading) + times(text);
            (here > 0).then_some(points + here)
        })
    }

    fn hit(&self, words: &[String]) -> Hit {
        Hit {
            name: self.document.name,
            title: title(self.document),
            anchor: self.anchor.clone(),
            heading: self.heading.clone(),
            excerpt: self.excerpt(words),
        }
    }

    /// What stands around the first of the words.
    fn excerpt(&self, words: &[String]) -> String {
        let at = words.iter().filter_map(|word| self.small.1.find(word.as_str())).min().unwrap_or(0);
        // small letters may have other lengths: as many characters as come before it there
        let at = self.small.1[..at].chars().count();
        let start = at.saturating_sub(BEFORE);
        let part: String = self.text.chars().skip(start).take(EXCERPT).collect();
        let (before, after) =
            (if start > 0 { "…" } else { "" }, self.text.chars().nth(start + EXCERPT).map_or("", |_| "…"));
        format!("{before}{part}{after}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_by_all_of_their_words() {
        let first = |query: &str| search(query).into_iter().next().map(|hit| (hit.name, hit.anchor));
        assert_eq!(first("scumble backup restore hostile nonsenseword"), None);
        let pages: Vec<_> = search("rotate-webhooks PUBLISHED key").iter().map(|hit| hit.name).collect();
        assert!(pages.contains(&"webhooks") && pages.contains(&"cli"), "{pages:?}");
        assert_eq!(first("behind a proxy"), Some(("settings", "behind-a-proxy".to_owned())));
        assert!(search("").is_empty() && search("   ").is_empty());
        for query in ["a", "the", "ß", "İ", "\u{0}", "\" <", &"x ".repeat(5000)] {
            let hits = search(query);
            assert!(hits.len() <= SHOWN, "{query}");
            assert!(hits.iter().all(|hit| hit.excerpt.chars().count() <= EXCERPT + 2), "{query}");
        }
        let hits = search("pg_dump");
        assert!(hits.iter().any(|hit| hit.name == "operations" && hit.excerpt.contains("pg_dump")), "{hits:?}");
    }
}
