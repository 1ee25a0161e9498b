//! What users read is English at first reading: "X is no Y" is what other languages say for "X is not a Y".

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};

/// What stands before it where it is English: "there is no job", "it is no longer kept".
fn is_english(before: &str, after: &str) -> bool {
    before.to_lowercase().ends_with("there") || after.starts_with("longer")
}

fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // tests name things as they like
            if !path.ends_with("tests") && !path.ends_with("node_modules") {
                files(&path, endings, found);
            }
        } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)) {
            found.push(path);
        }
    }
}

/// The part of a source that users can meet: no comments, no tests.
fn shown(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    if path.extension().is_none_or(|e| e != "rs") {
        return text;
    }
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn messages_and_pages_say_it_in_english() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    for krate in std::fs::read_dir(crates).unwrap() {
        let krate = krate.unwrap().path();
        // what tests say is for us
        if !krate.ends_with("testkit") {
            files(&krate.join("src"), &["rs"], &mut all);
        }
    }
    files(&crates.parent().unwrap().join("web"), &["html", "js"], &mut all);
    assert!(all.len() > 150, "{} files", all.len());
    let mut found = Vec::new();
    for path in all {
        let text = shown(&path);
        for words in [" is no ", " are no "] {
            for (at, _) in text.match_indices(words) {
                let (before, after) = (&text[..at], &text[at + words.len()..]);
                if !is_english(before, after) {
                    let line = before.lines().count();
                    found.push(format!("{}:{line}: …{words}{}", path.display(), after.lines().next().unwrap_or("")));
                }
            }
        }
    }
    assert!(found.is_empty(), "say \"is not a …\":\n{}", found.join("\n"));
}
