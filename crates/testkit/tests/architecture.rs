//! Dependencies point one way: what docs/ARCHITECTURE.md says, read from the manifests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which of our crates a crate may depend on at run time.
const ALLOWED: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("kernels", &[]),
    ("meters", &["api"]),
    ("fetch", &[]),
    ("files", &[]),
    ("hub", &["api", "fetch"]),
    ("pictures", &[]),
    ("store", &["api", "meters"]),
    ("traces", &["api"]),
    ("engine", &["kernels"]),
    ("providers", &["api", "fetch", "pictures"]),
    ("worker", &["api", "engine", "fetch", "files", "hub", "meters", "pictures", "providers", "store", "traces"]),
    ("server", &["api", "fetch", "files", "meters", "store", "traces"]),
    ("cli", &["api", "engine", "files", "hub", "meters", "server", "store", "traces", "worker"]),
    ("testkit", &["api", "engine", "files", "server", "store", "worker"]),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Our crates among the `[dependencies]` (not the dev-dependencies) of each manifest.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(crates()).unwrap() {
        let folder = entry.unwrap().path();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let section = manifest.split("\n[").find(|s| s.starts_with("dependencies]")).unwrap_or_default().to_owned();
        let ours = section.lines().filter_map(|line| line.strip_prefix("scumble-"));
        let ours =
            ours.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned());
        found.insert(folder.file_name().unwrap().to_str().unwrap().to_owned(), ours.collect());
    }
    found
}

#[test]
fn every_crate_depends_only_on_those_below_it() {
    let found = dependencies();
    let known: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    for (name, allowed) in ALLOWED {
        let extra: Vec<_> = found[*name].iter().filter(|d| !allowed.contains(&d.as_str())).collect();
        assert!(extra.is_empty(), "{name} must not depend on {extra:?}");
    }
    assert!(found["worker"].contains("engine"), "the manifests were not understood");
}

#[test]
fn only_the_command_line_reads_the_environment() {
    for name in [
        "api",
        "engine",
        "fetch",
        "files",
        "hub",
        "kernels",
        "meters",
        "pictures",
        "providers",
        "server",
        "store",
        "traces",
        "worker",
    ] {
        // what pages show people who write programs is text, and reads nothing
        let shown = Path::new("pages/snippets.rs");
        for file in sources(&crates().join(name).join("src")).into_iter().filter(|file| !file.ends_with(shown)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for call in ["env::var", "env::args"] {
                assert!(!text.contains(call), "{} uses {call}; settings come from crates/cli", file.display());
            }
        }
    }
}

/// Readers of a message have this program, not its repository: what is named can be opened at `/docs` of a server.
#[test]
fn no_message_names_a_document_that_its_reader_cannot_open() {
    let web = crates().parent().unwrap().join("web/templates");
    let pages = std::fs::read_dir(web).unwrap().map(|entry| entry.unwrap().path());
    let code = ALLOWED.iter().flat_map(|(name, _)| sources(&crates().join(name).join("src")));
    for file in pages.chain(code) {
        for line in std::fs::read_to_string(&file).unwrap().lines().filter(|line| !line.trim_start().starts_with("//"))
        {
            let named = line.split("docs/").skip(1).any(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
            assert!(!named, "{}: {line}", file.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
