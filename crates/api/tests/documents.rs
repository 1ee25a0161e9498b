//! Tables in docs/ that are made of the code: what stands there is what the code says. Written anew by
//! `UPDATE_EXPECT=1 cargo test -p scumble-api --test documents`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use scumble_api::published::{Form, PUBLISHED, Published};
use scumble_api::{ErrorType, PROBLEMS, published};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Holds the part of a document between `<!-- made: NAME -->` and `<!-- end -->` against what it should be.
fn check(document: &str, name: &str, made: &str) {
    let path = root().join("docs").join(document);
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- made: {name} -->\n\n"), "\n<!-- end -->");
    let start = text.find(&begin).unwrap_or_else(|| panic!("{document} has no {begin}")) + begin.len();
    let length = text[start..].find(end).unwrap_or_else(|| panic!("{document}: {name} has no end"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(&path, format!("{}{made}{}", &text[..start], &text[start + length..])).unwrap();
    }
    assert!(
        text[start..start + length] == *made,
        "docs/{document} is not what the code says of {name}: UPDATE_EXPECT=1 cargo test -p scumble-api --test documents"
    );
}

#[test]
fn the_table_of_errors_is_what_the_code_says() {
    let mut types = "| type | status | retryable | what it means | what to do |\n|---|---|---|---|---|\n".to_owned();
    for kind in ErrorType::ALL {
        let ((name, status), (means, advice)) = (kind.row(), kind.told());
        let passes = if kind.passes() { "yes" } else { "no" };
        let _ = writeln!(types, "| `{name}` | {status} | {passes} | {means} | {advice} |");
    }
    check("ERRORS.md", "types", &types);
    let mut problems = "| type | what it means | what to do |\n|---|---|---|\n".to_owned();
    for problem in PROBLEMS {
        let _ = writeln!(problems, "| `{}` | {} | {} |", problem.kind, problem.means, problem.advice);
    }
    check("ERRORS.md", "problems", &problems);
}

/// All the sources that answer callers, without the tests inside them.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<_> = ["api", "server", "worker", "providers", "pictures", "fetch"]
        .map(|name| root().join("crates").join(name).join("src"))
        .into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "problems.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
                found.push((path, text));
            }
        }
    }
    found
}

/// The literals behind these beginnings that look like the type of a problem.
fn literals<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    let after = text.split(begin).skip(1);
    after
        .filter_map(|rest| {
            let (word, _) = rest.split_once('"')?;
            let is_word = word.len() > 3 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            is_word.then_some(word)
        })
        .collect()
}

#[test]
fn every_type_of_problem_in_the_code_is_in_the_table_and_the_other_way_round() {
    let known: BTreeSet<&str> = PROBLEMS.iter().map(|problem| problem.kind).collect();
    assert_eq!(known.len(), PROBLEMS.len(), "each once");
    let sources = sources();
    let mut used = BTreeSet::new();
    for (path, text) in &sources {
        for begin in ["problem(\"", "kind: \"", "Problem::new(&[], \"", "problem_here(\""] {
            let is_of_problems = begin != "kind: \"" || text.contains("Problem");
            let plain = text.replace("query_problem(", "").replace("header_problem(", "");
            used.extend(literals(&plain, begin).into_iter().filter(|_| is_of_problems).map(|w| (w.to_owned(), path)));
        }
        // `query_problem("name", "type", …)`, and that of headers
        for begin in ["query_problem(\"", "header_problem(\""] {
            let second = text.split(begin).skip(1).filter_map(|rest| rest.split('"').nth(2));
            used.extend(second.map(|word| (word.to_owned(), path)));
        }
        // `Problem::new(PATH, "type", …)`, with whatever the path is
        for rest in text.split("Problem::new(").skip(1) {
            let mut depth = 0;
            let end = rest.char_indices().find(|(_, c)| {
                depth += i32::from("([".contains(*c)) - i32::from(")]".contains(*c));
                depth == 0 && *c == ','
            });
            let Some((end, _)) = end else { continue };
            let next = rest[end + 1..].trim_start();
            used.extend(
                literals(next, "\"").first().filter(|_| next.starts_with('"')).map(|word| ((*word).to_owned(), path)),
            );
        }
    }
    assert!(used.len() > 20, "the sources were not understood: {used:?}");
    for (word, path) in &used {
        assert!(
            known.contains(word.as_str()),
            "{} says {word}: it needs a line in crates/api/src/problems.rs",
            path.display()
        );
    }
    for kind in known {
        let literal = format!("\"{kind}\"");
        assert!(sources.iter().any(|(_, text)| text.contains(&literal)), "nothing says {kind} any more");
    }
}

#[test]
fn every_type_of_error_is_listed() {
    // a new one does not compile without `row`, and shows here that it is not in the list
    let source = std::fs::read_to_string(root().join("crates/api/src/error.rs")).unwrap();
    let row = source.split("pub const fn row(").nth(1).unwrap().split("\n    }\n").next().unwrap();
    assert_eq!(row.matches("Self::").count(), ErrorType::ALL.len());
}

/// The table of one model's forms.
fn forms(model: &Published) -> String {
    let mut table = format!("### {}\n\n", model.name);
    let endpoints: Vec<_> = model.endpoints.iter().map(|id| format!("`{id}`")).collect();
    let _ = writeln!(table, "For {}.\n", endpoints.join(", "));
    table += "| repository | licence | |\n|---|---|---|\n";
    for repository in model.repositories {
        let gated = if repository.gated { "its licence has to be accepted first: `HF_TOKEN`" } else { "" };
        let limit = repository.licence.limit.map_or_else(String::new, |limit| format!(", {limit}"));
        let _ = writeln!(table, "| `{}` | {}{limit} | {gated} |", repository.id, repository.licence.name);
    }
    table += "\n| variant | download | comes from |\n|---|---|---|\n";
    for (at, variant) in model.variants.iter().enumerate() {
        let from = match variant.form {
            Form::Folder { .. } => "the repositories above".to_owned(),
            Form::File { component, repository, file } => format!("the {component} is `{file}` of `{repository}`"),
        };
        let usual = if at == 0 { ", the usual one" } else { "" };
        let _ = writeln!(table, "| `{}`{usual} | {} | {from} |", variant.name, published::gigabytes(variant.bytes));
    }
    let first = model.endpoints[0];
    let _ = writeln!(
        table,
        "\n```console\n$ scumble models pull {first}\n$ scumble run {first} \"a lighthouse in a storm\" -o lighthouse.png\n```\n"
    );
    table
}

#[test]
fn the_table_of_weights_is_what_the_code_says() {
    let tables: String = PUBLISHED.iter().map(forms).collect();
    check("WEIGHTS.md", "models", &tables);
}
