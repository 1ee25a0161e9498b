//! `scumble --version`, `scumble man`, and the archive of a release.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Desk, succeeded};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

#[test]
fn a_version_tells_two_builds_apart() {
    let desk = Desk::new();
    assert_eq!(succeeded(&desk.scumble(&["-V"])), format!("scumble {}\n", env!("CARGO_PKG_VERSION")));
    let said = succeeded(&desk.scumble(&["--version"]));
    let lines: Vec<_> = said.lines().collect();
    let commit = lines[0].strip_prefix(&format!("scumble {} (commit ", env!("CARGO_PKG_VERSION"))).unwrap();
    let commit = commit.strip_suffix(')').unwrap();
    assert!(commit == "unknown" || commit.len() == 12 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{said}");
    for (line, beginning) in lines[1..].iter().zip(["target: ", "features: ", "devices: cpu"]) {
        assert!(line.starts_with(beginning) && line.len() > 9, "{said}");
    }
}

/// What the build script says of the commit, in a copy of the folders that it looks at.
#[cfg(unix)]
fn told(program: &Path, package: &Path, commit: Option<&str>) -> String {
    let mut command = Command::new(program);
    command.env_remove("SCUMBLE_COMMIT").env("CARGO_MANIFEST_DIR", package).env("TARGET", "t").env("PROFILE", "p");
    // git should not look beyond the folders of this test
    command.env("GIT_CEILING_DIRECTORIES", std::env::temp_dir()).envs(commit.map(|commit| ("SCUMBLE_COMMIT", commit)));
    let out = command.output().unwrap();
    let said = succeeded(&out);
    let line = said.lines().find_map(|line| line.strip_prefix("cargo::rustc-env=SCUMBLE_BUILD_COMMIT="));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

#[cfg(unix)]
#[test]
fn a_commit_is_known_with_git_from_an_archive_and_when_told_and_else_is_not() {
    let desk = Desk::new();
    let program = desk.path("build");
    let compiler = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs");
    let built = Command::new(compiler).args(["--edition", "2024", "-o"]).arg(&program).arg(source).status().unwrap();
    assert!(built.success());
    let package = desk.path("source/crates/cli");
    std::fs::create_dir_all(&package).unwrap();
    let commit_file = package.join("commit.txt");
    let told = |commit| told(&program, &package, commit);
    // an archive that nobody filled in, and no archive at all
    assert_eq!(told(None), "unknown");
    std::fs::write(&commit_file, "$Format:%H$\n").unwrap();
    assert_eq!(told(None), "unknown");
    std::fs::write(&commit_file, "0123456789abcdef0123456789abcdef01234567\n").unwrap();
    assert_eq!(told(None), "0123456789ab");
    assert_eq!(told(Some("feedfacefeedface")), "feedfacefeed");
    assert_eq!(told(Some("v1; echo evil")), "0123456789ab", "what is not a commit is not taken");

    // unpacked inside somebody else's repository
    let git = |folder: &Path, words: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"];
        let out = Command::new("git").current_dir(folder).args(identity).args(words).output().unwrap();
        succeeded(&out).trim().to_owned()
    };
    git(&desk.path(""), &["init", "--quiet"]);
    git(&desk.path(""), &["commit", "--quiet", "--allow-empty", "-m", "theirs"]);
    assert_eq!(told(None), "0123456789ab");
    // a checkout of its own
    git(&desk.path("source"), &["init", "--quiet"]);
    git(&desk.path("source"), &["commit", "--quiet", "--allow-empty", "-m", "ours"]);
    assert_eq!(told(None), git(&desk.path("source"), &["rev-parse", "HEAD"])[..12]);
}

#[cfg(unix)]
#[test]
fn archives_of_the_source_are_filled_in() {
    let attributes = std::fs::read_to_string(root().join(".gitattributes")).unwrap();
    assert!(attributes.lines().any(|line| line == "/crates/cli/commit.txt export-subst"));
    let written = std::fs::read_to_string(root().join("crates/cli/commit.txt")).unwrap();
    // in a checkout as it is written, in an archive as git has filled it in
    assert!(written.trim() == "$Format:%H$" || written.trim().bytes().all(|b| b.is_ascii_hexdigit()), "{written}");
}

#[test]
fn every_command_has_a_manual_page() {
    let desk = Desk::new();
    succeeded(&desk.scumble(&["man", "pages/man1"]));
    let pages: Vec<_> =
        std::fs::read_dir(desk.path("pages/man1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let names: Vec<_> = pages.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["scumble.1", "scumble-run.1", "scumble-models-pull.1", "scumble-backup.1", "scumble-doctor.1"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for path in &pages {
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".TH "), "{}", path.display());
    }
    let alone = succeeded(&desk.scumble(&["man"]));
    assert!(alone.contains(".SH SUBCOMMANDS") && alone.contains("backup"), "{alone}");
    desk.write("file", "");
    desk.refuses(&["man", "file/pages"], 4, &["file/pages"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_archive_of_a_release_has_all_that_belongs_to_it() {
    let desk = Desk::new();
    for name in ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-APACHE", "LICENSE-MIT", ".ci", "docs", "deploy"] {
        std::os::unix::fs::symlink(root().join(name), desk.path(name)).unwrap();
    }
    // a copy of the script in a folder like the repository, so that nothing is written there
    std::fs::remove_file(desk.path(".ci")).unwrap();
    std::fs::create_dir(desk.path(".ci")).unwrap();
    for script in ["archive", "notes"] {
        std::fs::copy(root().join(".ci").join(script), desk.path(".ci").join(script)).unwrap();
    }
    let run = |words: &[&str]| {
        let mut command = Command::new(desk.path(words[0]));
        command.args(&words[1..]).current_dir(desk.path("")).output().unwrap()
    };
    let said = succeeded(&run(&[".ci/archive", "x86_64-unknown-linux-gnu", env!("CARGO_BIN_EXE_scumble")]));
    let name = format!("scumble-{}-x86_64-unknown-linux-gnu", env!("CARGO_PKG_VERSION"));
    assert_eq!(said.trim(), format!("target/archives/{name}.tar.gz"));
    let file = std::fs::File::open(desk.path(said.trim())).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let inside: Vec<String> =
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().to_string_lossy().into_owned()).collect();
    for wanted in [
        "scumble",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "man/scumble.1",
        "man/scumble-models-pull.1",
        "completions/scumble.bash",
        "deploy/systemd/scumble.service",
        "completions/_scumble",
        "completions/scumble.fish",
        "docs/OPERATIONS.md",
    ] {
        assert!(inside.contains(&format!("{name}/{wanted}")), "{wanted} is not among {inside:?}");
    }
    let sum = std::fs::read_to_string(desk.path(&format!("target/archives/{name}.tar.gz.sha256"))).unwrap();
    assert!(sum.len() > 64 && sum.trim_end().ends_with(&format!("{name}.tar.gz")), "{sum}");
    assert_eq!(run(&[".ci/archive"]).status.code(), Some(2));

    // the notes of a version are what the changelog has of it
    std::fs::remove_file(desk.path("CHANGELOG.md")).unwrap();
    desk.write(
        "CHANGELOG.md",
        "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.2.3 (2026-12-24)\n\n- told\n\n## 1.2.2 (x)\n\n- old\n",
    );
    assert_eq!(succeeded(&run(&[".ci/notes", "v1.2.3"])), "\n- told\n\n");
    let none = run(&[".ci/notes", "v9.9.9"]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("nothing under \"## 9.9.9\""));
}
