//! Which files of a repository a model needs, and what they are called in its folder.

use scumble_api::published::Part;

use crate::client::Listing;
use crate::error::{Error, Result};

/// A file that is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chosen {
    /// Its path in the repository.
    pub from: String,
    /// Its path in the model's folder.
    pub to: String,
}

/// What tokenizers are kept in. Some of these files say the same in other ways, and other tools read those.
const TOKENIZER: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "chat_template.json",
    "chat_template.jinja",
    "preprocessor_config.json",
];

/// One of these holds a tokenizer's words.
const WORDS: [&str; 4] = ["tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model"];

/// What is meant of a repository.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// What is needed of it.
    pub parts: &'a [Part],
    /// The word in the names of the set of weights that is meant, where there are several.
    pub word: Option<&'a str>,
    /// The component whose weights come from elsewhere.
    pub without: Option<&'a str>,
    /// Whether weights are left out altogether.
    pub small_only: bool,
}

/// The files that are meant.
///
/// # Errors
/// Some are missing: all of those are named.
pub fn choose(listing: &Listing, choice: Choice<'_>) -> Result<Vec<Chosen>> {
    let (mut chosen, mut missing) = (Vec::new(), Vec::new());
    let names = &listing.files;
    let has = |path: &str| names.iter().any(|name| name == path);
    for part in choice.parts {
        match *part {
            Part::File(path) if has(path) => chosen.push(Chosen { from: path.to_owned(), to: path.to_owned() }),
            Part::File(path) => missing.push(path.to_owned()),
            Part::Tokenizer { from, to } => {
                let before = chosen.len();
                chosen
                    .extend(TOKENIZER.iter().filter(|name| has(&joined(from, name))).map(|name| both(from, to, name)));
                let is_whole = |file: &Chosen| WORDS.iter().any(|name| file.to.ends_with(name));
                if !chosen[before..].iter().any(is_whole) {
                    missing.push(joined(from, "tokenizer.json"));
                }
            }
            Part::Weights { from, to, base } => {
                match has(&joined(from, "config.json")) {
                    true => chosen.push(both(from, to, "config.json")),
                    false => missing.push(joined(from, "config.json")),
                }
                if choice.small_only || choice.without == Some(to) {
                    continue;
                }
                match weights(names, from, to, base, choice.word) {
                    Some(files) => chosen.extend(files),
                    None => missing.push(joined(from, &format!("{}.safetensors", worded(base, choice.word)))),
                }
            }
        }
    }
    if missing.is_empty() { Ok(chosen) } else { Err(Error::Lacks { repository: listing.repository.clone(), missing }) }
}

/// The weights of a component: one file, or an index and all of its shards.
fn weights(names: &[String], from: &str, to: &str, base: &str, word: Option<&str>) -> Option<Vec<Chosen>> {
    let has = |name: &str| names.contains(&joined(from, name));
    let stem = worded(base, word);
    let single = format!("{stem}.safetensors");
    // what reads them knows one name of a file and of an index; shards are called as the index says
    if has(&single) {
        let to = joined(to, &format!("{base}.safetensors"));
        return Some(vec![Chosen { from: joined(from, &single), to }]);
    }
    let index = match word {
        None => vec![format!("{base}.safetensors.index.json")],
        Some(word) => vec![
            format!("{base}.safetensors.index.{word}.json"),
            format!("{base}.{word}.safetensors.index.json"),
            format!("{base}.safetensors.{word}.index.json"),
        ],
    };
    let index = index.into_iter().find(|name| has(name))?;
    let mut chosen =
        vec![Chosen { from: joined(from, &index), to: joined(to, &format!("{base}.safetensors.index.json")) }];
    let shards = shards(names, from, &stem)?;
    chosen.extend(shards.iter().map(|name| both(from, to, name)));
    Some(chosen)
}

/// All shards of one set, where none is missing.
fn shards(names: &[String], from: &str, stem: &str) -> Option<Vec<String>> {
    /// No published model has more.
    const MOST: usize = 256;
    let count = names.iter().find_map(|name| {
        let name = inside(name, from)?.strip_prefix(stem)?.strip_prefix("-00001-of-")?;
        name.strip_suffix(".safetensors")?.parse::<usize>().ok()
    })?;
    if !(1..=MOST).contains(&count) {
        return None;
    }
    let all: Vec<String> = (1..=count).map(|at| format!("{stem}-{at:05}-of-{count:05}.safetensors")).collect();
    all.iter().all(|name| names.contains(&joined(from, name))).then_some(all)
}

fn worded(base: &str, word: Option<&str>) -> String {
    word.map_or_else(|| base.to_owned(), |word| format!("{base}.{word}"))
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn inside<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() { Some(path) } else { path.strip_prefix(folder)?.strip_prefix('/') }
}

fn both(from: &str, to: &str, name: &str) -> Chosen {
    Chosen { from: joined(from, name), to: joined(to, name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::RepoId;

    const PARTS: &[Part] = &[
        Part::File("model_index.json"),
        Part::Tokenizer { from: "tokenizer", to: "tokenizer" },
        Part::Weights { from: "transformer", to: "transformer", base: "m" },
    ];

    fn listing(files: &[&str]) -> Listing {
        Listing {
            repository: RepoId::parse("a/b").expect("a name"),
            revision: "main".into(),
            commit: "0".repeat(40),
            files: files.iter().map(|&file| file.to_owned()).collect(),
            is_gated: false,
            licence: None,
        }
    }

    fn named(files: &[&str], choice: Choice<'_>) -> Result<Vec<(String, String)>, String> {
        let chosen = choose(&listing(files), choice).map_err(|e| e.to_string())?;
        Ok(chosen.into_iter().map(|Chosen { from, to }| (from, to)).collect())
    }

    fn choice(word: Option<&str>) -> Choice<'_> {
        Choice { parts: PARTS, word, without: None, small_only: false }
    }

    #[test]
    fn what_is_needed_is_chosen_and_nothing_more() {
        let files = [
            "README.md",
            "m.safetensors",
            "model_index.json",
            "tokenizer/vocab.json",
            "tokenizer/merges.txt",
            "tokenizer/other.bin",
            "transformer/config.json",
            "transformer/m.safetensors.index.json",
            "transformer/m-00001-of-00002.safetensors",
            "transformer/m-00002-of-00002.safetensors",
            "transformer/m.fp16-00001-of-00001.safetensors",
            "transformer/m.safetensors.fp16.index.json",
        ];
        let to =
            |found: Result<Vec<(String, String)>, String>| found.map(|all| all.into_iter().map(|(_, to)| to).collect());
        let small = ["model_index.json", "tokenizer/vocab.json", "tokenizer/merges.txt", "transformer/config.json"];
        let with = |more: &[&str]| Ok(small.iter().chain(more).map(|&path| path.to_owned()).collect::<Vec<_>>());
        let index = "transformer/m.safetensors.index.json";
        assert_eq!(to(named(&files, choice(None))), {
            with(&[index, "transformer/m-00001-of-00002.safetensors", "transformer/m-00002-of-00002.safetensors"])
        });
        // under the names that readers know, whatever they are called where they come from
        assert_eq!(
            to(named(&files, choice(Some("fp16")))),
            with(&[index, "transformer/m.fp16-00001-of-00001.safetensors"])
        );
        let without = Choice { without: Some("transformer"), ..choice(None) };
        assert_eq!(to(named(&files, without)), with(&[]));
        assert_eq!(to(named(&files, Choice { small_only: true, ..choice(None) })), with(&[]));
        let single: Vec<&str> = [&files[..], &["transformer/m.safetensors"]].concat();
        assert_eq!(to(named(&single, choice(None))), with(&["transformer/m.safetensors"]));
    }

    #[test]
    fn all_that_is_missing_is_named() {
        let said = named(&["transformer/m-00001-of-00002.safetensors"], choice(None)).expect_err("nothing is there");
        for missing in
            ["model_index.json", "tokenizer/tokenizer.json", "transformer/config.json", "transformer/m.safetensors"]
        {
            assert!(said.contains(missing), "{missing}: {said}");
        }
        let huge = ["transformer/m.safetensors.index.json", "transformer/m-00001-of-99999999.safetensors"];
        assert!(named(&huge, choice(None)).is_err());
    }
}
