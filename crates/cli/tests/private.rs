//! What is for the owner of the data dir alone, and what is left as open as somebody wants it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Desk, plain, star, succeeded};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Every file and folder in a folder, and itself.
fn all(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn what_commands_make_is_for_its_owner_only() {
    let desk = Desk::new();
    let key = succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"])).trim().to_owned();
    let server = desk.serve(&["--stand-in=0", "--tls-dev"]);
    let call = plain().post(server.url("/run/fal-ai/flux/dev")).header("authorization", format!("Key {key}"));
    assert_eq!(call.json(&star()).send().await.unwrap().status(), 200);
    succeeded(&desk.scumble(&["jobs", "list", "--data-dir", "data"]));
    succeeded(&desk.scumble(&["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0"]));
    let made = all(&desk.path("data"));
    for path in ["scumble.db", "scumble.db-wal", "scumble.db-shm", "files", "tls/ca-key.pem"] {
        assert!(made.contains(&desk.path("data").join(path)), "{path} is missing");
    }
    for path in made {
        assert_eq!(mode(&path) & 0o077, 0, "{} has {:o}", path.display(), mode(&path));
    }
    assert_eq!((mode(&desk.path("data")), mode(&desk.path("data/scumble.db"))), (0o700, 0o600));
}

#[test]
fn what_older_versions_made_is_told_and_closed() {
    let desk = Desk::new();
    desk.serve(&["--tls-dev"]).stop();
    let (data, database, key) = (desk.path("data"), desk.path("data/scumble.db"), desk.path("data/tls/ca-key.pem"));
    for (path, mode) in [(&data, 0o755), (&database, 0o644), (&key, 0o640)] {
        set_mode(path, mode);
    }
    let said = |args: &[&str]| {
        let out = desk.scumble(&[&["doctor", "--listen", "127.0.0.1:0", "--data-dir", "data"], args].concat());
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let (code, told) = said(&[]);
    assert_eq!(code, Some(4));
    let line = told.lines().find(|line| line.starts_with("FAILS  data dir")).unwrap_or_else(|| panic!("{told}"));
    for word in ["755", "644", "640", "scumble.db", "ca-key.pem", "scumble serve"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert_eq!(mode(&data), 0o755, "a doctor changes nothing");
    desk.serve(&[]).stop();
    assert_eq!((mode(&data), mode(&database), mode(&key)), (0o700, 0o600, 0o600));
    assert_eq!(said(&[]).0, Some(0));
}

/// As `mkdir` makes it: nothing was there to be read, and `serve` closes it.
#[test]
fn a_new_data_dir_that_is_open_does_not_fail() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("data")).unwrap();
    set_mode(&desk.path("data"), 0o755);
    let doctor = ["doctor", "--listen", "127.0.0.1:0", "--data-dir", "data"];
    let line = |told: &str| told.lines().find(|line| line.contains("  data dir")).unwrap().to_owned();
    for _ in 0..2 {
        let told = line(&succeeded(&desk.scumble(&doctor)));
        assert!(told.starts_with("note   data dir   others on this machine may look into data (755, "), "{told}");
        assert!(told.ends_with("`scumble serve` closes it when it starts, or chmod does"), "{told}");
        // a key does not change it: its database is closed
        succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"]));
    }
    desk.serve(&[]).stop();
    assert_eq!(mode(&desk.path("data")), 0o700);
    assert!(line(&succeeded(&desk.scumble(&doctor))).starts_with("ok "));
}

#[tokio::test]
async fn what_is_shared_on_purpose_stays_open() {
    let desk = Desk::new();
    // a folder with other things in it, and one for pictures that a web server reads, say
    for folder in ["data", "pictures"] {
        std::fs::create_dir(desk.path(folder)).unwrap();
        set_mode(&desk.path(folder), 0o755);
    }
    std::fs::write(desk.path("data/notes.txt"), "somebody else's").unwrap();
    let mut command = desk.command(&["serve", "--stand-in=0", "--listen", "127.0.0.1:0", "--data-dir", "data"]);
    command.args(["--files", "pictures"]);
    let server = common::Serving::start_in(&command, 0o022);
    let answer = plain().post(server.url("/run/fal-ai/flux/dev")).json(&star()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    server.stop();
    assert_eq!((mode(&desk.path("data")), mode(&desk.path("pictures"))), (0o755, 0o755));
    assert_eq!(mode(&desk.path("data/scumble.db")), 0o600, "what is ours is closed in any case");
    let pictures: Vec<_> = all(&desk.path("pictures")).into_iter().filter(|path| path.is_file()).collect();
    assert!(!pictures.is_empty());
    for picture in pictures {
        let expected = if picture.starts_with(desk.path("pictures/spool")) { 0o600 } else { 0o644 };
        assert_eq!(mode(&picture), expected, "{}", picture.display());
    }
}
