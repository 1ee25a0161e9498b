//! `scumble doctor`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Desk, succeeded};

#[test]
fn a_doctor_says_what_is_well_and_what_to_do() {
    let desk = Desk::new();
    let doctor = |args: &[&str]| desk.scumble(&[&["doctor", "--data-dir", "data"], args].concat());
    let well = succeeded(&doctor(&["--listen", "127.0.0.1:0"]));
    for what in ["data dir", "database", "keys", "clock", "files", "address", "weights", "makers", "models"] {
        assert!(well.lines().any(|line| line.starts_with(&format!("ok     {what}"))), "{what}: {well}");
    }
    let models = well.lines().find(|line| line.starts_with("ok     models")).unwrap();
    assert!(models.contains("runs here: 1;") && models.contains("needs weights: 3"), "{models}");
    assert!(models.contains("not yet: 7 (") && models.contains("fal-ai/aura-flow"), "{models}");
    let mut left = std::fs::read_dir(desk.path("data")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.all(|name| !name.starts_with(".doctor")), "nothing is left behind");

    let server = desk.serve(&[]);
    desk.write(
        "scumble.toml",
        "[server]\ntls = { cert = \"a\", key = \"b\" }\n[models.\"fal-ai/flux/dev\"]\nweights = \"c\"\n",
    );
    let ill = doctor(&["--listen", &server.address.to_string(), "--config", "scumble.toml", "--files", "scumble.toml"]);
    let said = String::from_utf8_lossy(&ill.stdout);
    for (what, advice) in [
        ("address", "--listen"),
        ("https", "cannot read a"),
        ("weights", "fal-ai/flux/dev: c is no diffusers folder"),
        ("files", "--files"),
    ] {
        let line = said.lines().find(|line| line.starts_with(&format!("FAILS  {what}")));
        assert!(line.is_some_and(|line| line.contains(advice)), "{what}: {said}");
    }
    assert_eq!(ill.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&ill.stderr).contains("4 of 10 checks failed"), "{said}");
    let open = doctor(&["--listen", "0.0.0.0:0"]);
    assert!(String::from_utf8_lossy(&open.stdout).contains("keys create"));
}
