//! `scumble doctor`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Desk, succeeded};

#[test]
fn a_doctor_says_what_is_well_and_what_to_do() {
    let desk = Desk::new();
    let doctor = |args: &[&str]| desk.scumble(&[&["doctor", "--data-dir", "data"], args].concat());
    let well = succeeded(&doctor(&["--listen", "127.0.0.1:0"]));
    for what in ["data dir", "database", "keys", "clock", "files", "address", "weights", "adapters", "makers", "models"]
    {
        assert!(well.lines().any(|line| line.starts_with(&format!("ok     {what}"))), "{what}: {well}");
    }
    let models = well.lines().find(|line| line.starts_with("ok     models")).unwrap();
    assert!(models.contains("runs here: 1;") && models.contains("needs weights: 9"), "{models}");
    assert!(models.contains("not yet: 5 (") && models.contains("fal-ai/omnigen-v2"), "{models}");
    let mut left = std::fs::read_dir(desk.path("data")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(left.all(|name| !name.starts_with(".probe")), "nothing is left behind");

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
        ("weights", "fal-ai/flux/dev: c is not a checkpoint"),
        ("files", "--files"),
    ] {
        let line = said.lines().find(|line| line.starts_with(&format!("FAILS  {what}")));
        assert!(line.is_some_and(|line| line.contains(advice)), "{what}: {said}");
    }
    assert_eq!(ill.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&ill.stderr).contains("4 of 11 checks failed"), "{said}");
    let open = doctor(&["--listen", "0.0.0.0:0"]);
    assert!(String::from_utf8_lossy(&open.stdout).contains("keys create"));
    assert_eq!(open.status.code(), Some(2), "as serve ends");

    // nothing but weights
    let weights = doctor(&["--listen", "127.0.0.1:0", "--weights", "fal-ai/flux/schnell=nope"]);
    assert_eq!(weights.status.code(), Some(3));
    // what the settings forbid is found by both, with the same code
    let closed = ["--listen", "127.0.0.1:0", "--weights", "fal-ai/imagen4/preview=nope"];
    assert_eq!(doctor(&closed).status.code(), Some(2));
    desk.refuses(&[&["serve", "--data-dir", "data"], &closed[..]].concat(), 2, &["fal-ai/imagen4/preview"]);
    // a gateway has none
    succeeded(&doctor(&["--listen", "127.0.0.1:0", "--role", "gateway", "--weights", "fal-ai/flux/schnell=nope"]));
    // where the data dir is of no use, what is inside it says nothing more
    let broken = desk.scumble(&["doctor", "--data-dir", "scumble.toml", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&broken.stdout);
    assert_eq!(said.lines().filter(|line| line.starts_with("FAILS")).count(), 1, "{said}");
    assert_eq!(said.lines().filter(|line| line.contains("not checked")).count(), 2, "{said}");
    // a server without a valid key can be meant
    let key = succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"]));
    succeeded(&desk.scumble(&["keys", "revoke", key.split(':').next().unwrap(), "--data-dir", "data"]));
    let odd = succeeded(&doctor(&["--listen", "127.0.0.1:0"]));
    assert!(odd.contains("note   keys       callers need a key, and all are revoked"), "{odd}");
}
