//! Writes down from which commit the binary is made, for `--version`. Asks git where it is there, fetches nothing, and works in
//! a folder that knows nothing of git: then `commit.txt` tells, which `git archive` and the archives of hosts fill in.

use std::path::{Path, PathBuf};
use std::process::Command;

/// As long as names of commits are shown.
const LENGTH: usize = 12;

fn main() {
    let package = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-env-changed=SCUMBLE_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=commit.txt");
    let commit = told().or_else(|| asked(&package)).or_else(|| written(&package));
    println!("cargo::rustc-env=SCUMBLE_BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    println!("cargo::rustc-env=SCUMBLE_BUILD_TARGET={}, {}", variable("TARGET"), variable("PROFILE"));
    println!("cargo::rustc-env=SCUMBLE_BUILD_FEATURES={}", features());
}

/// Who builds may know it better.
fn told() -> Option<String> {
    std::env::var("SCUMBLE_COMMIT").ok().and_then(|commit| name(&commit))
}

/// What git says of this very folder; one that lies inside another project is not of its commits.
fn asked(package: &Path) -> Option<String> {
    let root = package.parent()?.parent()?.canonicalize().ok()?;
    let top = PathBuf::from(git(&root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root {
        return None;
    }
    // the log of HEAD grows with each commit and checkout; a file that is not there would mean a build each time
    for file in ["HEAD", "logs/HEAD", "packed-refs"] {
        let path = root.join(git(&root, &["rev-parse", "--git-path", file])?);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    name(&git(&root, &["rev-parse", "HEAD"])?)
}

/// What an archive's maker has put in.
fn written(package: &Path) -> Option<String> {
    name(std::fs::read_to_string(package.join("commit.txt")).ok()?.trim())
}

fn name(commit: &str) -> Option<String> {
    let is_name = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_name.then(|| commit.chars().take(LENGTH).collect())
}

fn git(root: &Path, words: &[&str]) -> Option<String> {
    let out = Command::new("git").current_dir(root).args(words).output().ok()?;
    let said = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    (out.status.success() && !said.is_empty()).then_some(said)
}

/// What was switched on beside what is always there.
fn features() -> String {
    let names =
        std::env::vars_os().filter_map(|(name, _)| Some(name.to_str()?.strip_prefix("CARGO_FEATURE_")?.to_lowercase()));
    let mut names: Vec<String> = names.filter(|name| name != "default").collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
