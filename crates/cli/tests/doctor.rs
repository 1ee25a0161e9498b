//! `scumble doctor`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Desk, succeeded};
use scumble_testkit::tiny::{self, Variant};

#[test]
fn a_doctor_says_what_is_well_and_what_to_do() {
    let desk = Desk::new();
    let doctor = |args: &[&str]| desk.scumble(&[&["doctor", "--data-dir", "data"], args].concat());
    desk.serve(&[]).stop();
    let well = succeeded(&doctor(&["--listen", "127.0.0.1:0"]));
    for what in [
        "data dir", "database", "keys", "clock", "files", "space", "address", "devices", "weights", "adapters",
        "makers", "safety", "models",
    ] {
        assert!(well.lines().any(|line| line.starts_with(&format!("ok     {what}"))), "{what}: {well}");
    }
    let models = well.lines().find(|line| line.starts_with("ok     models")).unwrap();
    assert!(models.contains("runs here: 1;") && models.contains("needs weights: 15"), "{models}");
    assert!(!models.contains("not yet"), "{models}");
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
        ("https", "[server] tls: cannot read a"),
        ("weights", "fal-ai/flux/dev: c is not a checkpoint"),
        ("files", "--files"),
    ] {
        let line = said.lines().find(|line| line.starts_with(&format!("FAILS  {what}")));
        assert!(line.is_some_and(|line| line.contains(advice)), "{what}: {said}");
    }
    assert_eq!(ill.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&ill.stderr).contains("4 of 14 checks failed"), "{said}");
    let open = doctor(&["--listen", "0.0.0.0:0"]);
    assert!(String::from_utf8_lossy(&open.stdout).contains("keys create"));
    assert_eq!(open.status.code(), Some(2), "as serve ends");

    // nothing but weights
    let weights = doctor(&["--listen", "127.0.0.1:0", "--weights", "fal-ai/flux/schnell=nope"]);
    assert_eq!(weights.status.code(), Some(3));
    // weights of a model that the engine does not have
    let none = doctor(&["--listen", "127.0.0.1:0", "--weights", "fal-ai/ideogram/v2=nope"]);
    let said = String::from_utf8_lossy(&none.stdout);
    assert!(said.contains("-      weights    not checked") && said.contains("FAILS  models"), "{said}");
    assert!(
        said.contains("up to 64 GiB of downloads") && said.contains("[adapters] folders in scumble.toml"),
        "{said}"
    );
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

/// What a folder holds, with what is in it.
fn tree(folder: &std::path::Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        all.push(path.display().to_string());
        all.extend(tree(&path));
    }
    all.sort();
    all
}

#[test]
fn who_only_looks_makes_nothing() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("images")).unwrap();
    desk.write("file", "not a folder");
    let before = tree(&desk.path(""));
    let doctor = |args: &[&str]| desk.scumble(&[&["doctor", "--listen", "127.0.0.1:0"], args].concat());
    let said = succeeded(&doctor(&["--data-dir", "new/data", "--record", "new/records"]));
    for what in ["data dir", "database", "files", "records"] {
        let line = said.lines().find(|line| line.starts_with(&format!("note   {what}")));
        assert!(line.is_some_and(|line| line.contains("not there yet; `scumble serve` makes it")), "{what}: {said}");
    }
    assert!(said.contains("ok     keys       none: only programs on this machine may call"), "{said}");
    assert!(said.contains("ok     clock") && said.contains("127.0.0.1 has a free port"), "{said}");
    assert!(said.contains("a running server tells more at /docs/makers") && !said.contains(":0/"), "{said}");
    // a folder that is there and was not used yet
    let said = succeeded(&doctor(&["--data-dir", "new/data", "--files", "images"]));
    assert!(said.contains("ok     files      images can be written and read"), "{said}");
    // where nothing can be made
    let ill = doctor(&["--data-dir", "file/data"]);
    let said = String::from_utf8_lossy(&ill.stdout);
    assert!(said.contains("FAILS  data dir") && said.contains("file: it is not a folder"), "{said}");
    assert_eq!(ill.status.code(), Some(4));
    // what is missing does not hide what is wrong
    let open = desk.scumble(&["doctor", "--data-dir", "new/data", "--listen", "0.0.0.0:0"]);
    assert!(open.status.code() == Some(2) && String::from_utf8_lossy(&open.stdout).contains("keys create"), "{open:?}");

    for command in [
        &["keys", "list"][..],
        &["keys", "revoke", "x"],
        &["keys", "rotate-webhooks"],
        &["jobs", "list"],
        &["jobs", "list", "--json"],
        &["jobs", "show", "00000000-0000-4000-8000-000000000000"],
    ] {
        let place = ["--data-dir", "new"];
        desk.refuses(&[command, &place].concat(), 4, &["there is no database sqlite:new/scumble.db", "--data-dir"]);
    }
    let place = ["--data-dir", "new/data", "--record", "new/records"];
    succeeded(&desk.scumble(&[&["models", "list"][..], &place].concat()));
    assert_eq!(tree(&desk.path("")), before, "nothing was made");
    // a file that holds nothing is not a database either
    desk.write("empty.db", "");
    desk.refuses(&["jobs", "list", "--database", "sqlite:empty.db"], 4, &["there is no database"]);
    assert_eq!(std::fs::read(desk.path("empty.db")).unwrap(), b"");
    // who makes a key means it
    succeeded(&desk.scumble(&["keys", "create", "--data-dir", "new"]));
    assert!(succeeded(&desk.scumble(&["keys", "list", "--data-dir", "new"])).contains("valid"));
}

#[test]
fn a_doctor_lists_every_tensor_that_is_wrong() {
    let desk = Desk::new();
    let folder = tiny::of(Variant::Schnell).tempdir();
    let file = folder.path().join("transformer/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config["num_layers"] = 3.into();
    config["num_single_layers"] = 1.into();
    std::fs::write(&file, config.to_string()).unwrap();
    let weights = format!("fal-ai/flux/schnell={}", folder.path().display());
    let doctor = desk.scumble(&["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0", "--weights", &weights]);
    assert_eq!(doctor.status.code(), Some(3));
    let said = String::from_utf8_lossy(&doctor.stdout);
    let (_, list) = said.split_once("Wrong with the weights of fal-ai/flux/schnell, ").unwrap();
    let count: usize = list.split_whitespace().next().unwrap().parse().unwrap();
    let lines: Vec<&str> = list.lines().skip(1).collect();
    assert_eq!(lines.len(), count, "{said}");
    let with = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert!(with("tensor transformer_blocks.2.norm1.linear.weight is missing") == 1, "{said}");
    assert!(with("tensor single_transformer_blocks.1.proj_mlp.bias does not belong to this model") == 1, "{said}");
    assert_eq!(with("transformer_blocks.2.") + with("single_transformer_blocks.1."), count, "{said}");
    assert!(said.contains("more; all are listed below") && !said.contains("`scumble doctor`"), "{said}");
    // and serve, which says it in a line, tells where the list is
    let serve = ["serve", "--data-dir", "data", "--listen", "127.0.0.1:0", "--weights", &weights];
    desk.refuses(&serve, 3, &["is missing, and", "`scumble doctor` lists them all"]);
}

/// HiDream-I1's repositories leave it out; one copy serves all of them.
#[test]
fn llama_is_found_where_the_settings_say() {
    let desk = Desk::new();
    tiny::of(Variant::HiDreamFast).write(desk.path("fast"));
    std::fs::create_dir(desk.path("llama")).unwrap();
    for folder in ["text_encoder_4", "tokenizer_4"] {
        for entry in std::fs::read_dir(desk.path("fast").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::rename(&path, desk.path("llama").join(path.file_name().unwrap())).unwrap();
        }
        std::fs::remove_dir(desk.path("fast").join(folder)).unwrap();
    }
    let doctor = |id: &str, words: &str| {
        desk.write("scumble.toml", &format!("[models.\"{id}\"]\n{words}\n"));
        let done =
            desk.scumble(&["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0", "--config", "scumble.toml"]);
        let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (done.status.code(), said)
    };
    let fast = "fal-ai/hidream-i1-fast";
    let (code, said) = doctor(fast, "weights = \"fast\"");
    assert!(code == Some(3) && said.contains("as the component text_encoder_4"), "{said}");
    let (code, said) = doctor(fast, "weights = \"fast\"\ncomponents = { text_encoder_4 = \"nowhere\" }");
    assert!(code == Some(3) && said.contains("nowhere"), "{said}");
    let (code, said) = doctor(fast, "weights = \"fast\"\ncomponents = { text_encoder_4 = \"llama\" }");
    assert!(code == Some(0) && said.contains("runs here: 2;"), "{said}");
    // and it draws
    desk.write(
        "scumble.toml",
        &format!("[models.\"{fast}\"]\nweights = \"fast\"\ncomponents = {{ text_encoder_4 = \"llama\" }}\n"),
    );
    let server = desk.serve(&["--config", "scumble.toml"]);
    let input = r#"{"prompt": "a fox", "image_size": {"width": 64, "height": 64}, "num_inference_steps": 1}"#;
    let head = format!("POST /run/{fast} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json", server.address);
    let (status, answer) =
        server.raw(&format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{input}", input.len()));
    assert_eq!((status, &answer["images"][0]["width"]), (200, &64.into()), "{answer}");
}

#[test]
fn weights_of_another_model_are_found_before_the_first_call() {
    let desk = Desk::new();
    let folder = tiny::of(Variant::Schnell).tempdir();
    let weights = format!("fal-ai/aura-flow={}", folder.path().display());
    let flags = ["--data-dir", "data", "--listen", "127.0.0.1:0", "--weights", &weights];
    let doctor = desk.scumble(&[&["doctor"], &flags[..]].concat());
    assert_eq!(doctor.status.code(), Some(3));
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("holds weights of FluxPipeline; this endpoint needs AuraFlowPipeline"), "{said}");
    desk.refuses(&[&["serve"], &flags[..]].concat(), 3, &["needs AuraFlowPipeline"]);
}

/// An installation with four files in their folder, and nobody at work there. Their paths.
async fn installation(desk: &Desk) -> Vec<String> {
    let server = desk.serve(&["--stand-in=0"]);
    for _ in 0..4 {
        let input = serde_json::json!({ "prompt": "a star", "image_size": { "width": 64, "height": 64 } });
        let answer = common::plain().post(server.url("/run/fal-ai/flux/dev")).json(&input).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    server.stop();
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    let mut rows = db.prepare("SELECT path FROM files ORDER BY path").unwrap();
    let paths: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(paths.len() == 4 && paths.iter().all(|path| desk.path("data/files").join(path).exists()), "{paths:?}");
    paths
}

fn examined(desk: &Desk, args: &[&str]) -> (Option<i32>, serde_json::Value) {
    let out = desk.scumble(&[&["doctor", "--data", "--json", "--data-dir", "data"], args].concat());
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    (out.status.code(), serde_json::from_str(&said).unwrap_or_else(|_| panic!("{out:?}")))
}

#[tokio::test]
async fn a_doctor_finds_what_does_not_belong_together() {
    let desk = Desk::new();
    let paths = installation(&desk).await;
    let files = desk.path("data/files");
    let (code, told) = examined(&desk, &[]);
    assert_eq!((code, &told["files"]["whole"]["number"]), (Some(0), &4.into()), "{told}");
    assert!(told["database"]["intact"] == true && told["database"]["bytes"].as_u64() > Some(0), "{told}");
    let before = tree(&desk.path("data"));

    // a row without a file, a file that is shorter than its row says, files without a row, things of others
    std::fs::remove_file(files.join(&paths[0])).unwrap();
    std::fs::write(files.join(&paths[1]), "short").unwrap();
    let (old, young) = ("b/00000000000000000000000000000001/old.png", "b/00000000000000000000000000000002/young.png");
    for path in [old, young] {
        std::fs::create_dir_all(files.join(path).parent().unwrap()).unwrap();
        std::fs::write(files.join(path), "orphan").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    std::fs::File::options().write(true).open(files.join(old)).unwrap().set_modified(long_ago).unwrap();
    std::fs::write(files.join("note.txt"), "mine").unwrap();
    let (code, told) = examined(&desk, &[]);
    assert_eq!(code, Some(4));
    let found = &told["files"];
    assert_eq!(
        found["missing"],
        serde_json::json!({ "number": 1, "bytes": found["missing"]["bytes"], "some": [paths[0]] })
    );
    assert_eq!((&found["damaged"]["number"], &found["whole"]["number"]), (&1.into(), &2.into()), "{told}");
    assert!(found["damaged"]["some"][0].as_str().unwrap().starts_with(&paths[1]), "{told}");
    assert_eq!(found["orphans"], serde_json::json!({ "number": 1, "bytes": 6, "some": [old] }));
    assert_eq!(found["young"], serde_json::json!({ "number": 1, "bytes": 6 }), "it may get its row yet");
    assert_eq!(found["strays"]["number"], 1);
    // for people
    let out = desk.scumble(&["doctor", "--data", "--data-dir", "data"]);
    let said = String::from_utf8_lossy(&out.stdout);
    for line in
        ["ok     database", "FAILS  missing", "FAILS  damaged", "note   orphans", "note   strays", "AGE ", "GOES "]
    {
        assert!(said.lines().any(|all| all.starts_with(line)), "{line}: {said}");
    }
    assert!(said.contains(&format!("Missing:\n  {}\n", paths[0])), "{said}");
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("2 files are missing or damaged; `scumble restore`"),
        "{out:?}"
    );
    // one whose time is over is as good as gone
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    db.execute("UPDATE files SET expires_ms = 1 WHERE path = ?1", [&paths[0]]).unwrap();
    db.close().unwrap();
    let (_, told) = examined(&desk, &[]);
    assert_eq!((&told["files"]["missing"]["number"], &told["goes"][0]["files"]), (&0.into(), &1.into()), "{told}");
    let left = tree(&desk.path("data"));
    assert!(before.iter().all(|path| left.contains(path) || path.ends_with(&paths[0])), "a doctor removes nothing");
    assert!(!left.iter().any(|path| path.contains("probe")), "and makes nothing: {left:?}");
}

#[tokio::test]
async fn a_doctor_says_how_old_things_are_and_when_they_go() {
    const DAY: i64 = 86_400_000;
    let desk = Desk::new();
    installation(&desk).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    // of one day each: today, two days, three weeks and a hundred days ago
    for (seq, days) in [(1, 0), (2, 2), (3, 21), (4, 100)] {
        let then = now - days * DAY - 3_600_000;
        db.execute("UPDATE jobs SET created_ms = ?1, finished_ms = ?1 WHERE seq = ?2", [then, seq]).unwrap();
        let of = "UPDATE files SET created_ms = ?1 WHERE job_id = (SELECT id FROM jobs WHERE seq = ?2)";
        db.execute(of, [then, seq]).unwrap();
    }
    db.close().unwrap();
    let column = |told: &serde_json::Value, table: &str, name: &str| -> Vec<u64> {
        told[table].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).collect()
    };
    let (code, told) = examined(&desk, &[]);
    assert_eq!(code, Some(0));
    for name in ["requests", "files"] {
        assert_eq!(column(&told, "ages", name), [1, 1, 1, 0, 1], "{name}: {told}");
        // kept for thirty days: the oldest goes now, one within nine days, two within thirty
        assert_eq!(column(&told, "goes", name), [1, 0, 0, 3, 0, 0], "{name}: {told}");
    }
    assert!(column(&told, "ages", "row_bytes")[0] > 100, "{told}");
    // what is asked with other settings is answered with those
    desk.write("scumble.toml", "[retention]\nresults_s = \"3 d\"\n");
    let (_, told) = examined(&desk, &["--config", "scumble.toml"]);
    assert_eq!(column(&told, "goes", "files"), [2, 1, 1, 0, 0, 0], "{told}");
    // a caller who did not want it kept: the row goes soon, the picture when a result would
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    db.execute_batch(
        "UPDATE jobs SET keep_io = 0 WHERE seq = 1; UPDATE jobs SET finished_ms = NULL, state = 'queued' WHERE seq = 2",
    )
    .unwrap();
    db.close().unwrap();
    let (_, told) = examined(&desk, &["--config", "scumble.toml"]);
    assert_eq!(column(&told, "goes", "requests"), [3, 0, 0, 0, 0, 1], "{told}");
    assert_eq!(column(&told, "goes", "files"), [2, 0, 1, 0, 0, 1], "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_beside_a_running_server_disturbs_nobody_and_finds_nothing() {
    let desk = Desk::new();
    let server = desk.serve(&["--stand-in=0"]);
    let client = common::plain();
    let url = server.url("/run/fal-ai/flux/dev");
    let load: Vec<_> = (0..3)
        .map(|_| {
            let (client, url) = (client.clone(), url.clone());
            tokio::spawn(async move {
                loop {
                    let input = serde_json::json!({ "prompt": "a star", "image_size": { "width": 64, "height": 64 } });
                    assert_eq!(client.post(&url).json(&input).send().await.unwrap().status(), 200);
                }
            })
        })
        .collect();
    for _ in 0..5 {
        let mut command = desk.command(&["doctor", "--data", "--json", "--data-dir", "data"]);
        let out = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        let told: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        for kind in ["missing", "damaged", "orphans", "strays"] {
            assert_eq!(told["files"][kind]["number"], 0, "{kind}: {told}");
        }
    }
    for task in &load {
        assert!(!task.is_finished(), "nobody was refused");
        task.abort();
    }
}

#[tokio::test]
async fn a_doctor_tells_damage_and_what_it_cannot_look_at() {
    let desk = Desk::new();
    desk.refuses(&["doctor", "--data", "--data-dir", "none"], 4, &["there is no database", "--data-dir"]);
    assert!(!desk.path("none").exists());
    let said = desk.refuses(
        &["doctor", "--data", "--database", "postgres://me:s3cret@db/images", "--data-dir", "data"],
        2,
        &["pg_amcheck"],
    );
    assert!(!said.contains("s3cret"));
    installation(&desk).await;
    let (code, told) = examined(&desk, &["--files", "s3://images"]);
    assert_eq!((code, &told["files"]["checked"]), (Some(0), &false.into()), "{told}");
    // a page of zeros in the middle
    let file = desk.path("data/scumble.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0);
    std::fs::write(&file, &bytes).unwrap();
    let out = desk.scumble(&["doctor", "--data", "--data-dir", "data"]);
    assert_eq!(out.status.code(), Some(4), "{out:?}");
    let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("damaged"), "{said}");
    // an older database is left as it is
    let desk = Desk::new();
    installation(&desk).await;
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    db.execute_batch("DELETE FROM schema_version WHERE version = (SELECT max(version) FROM schema_version)").unwrap();
    db.close().unwrap();
    let words = ["schema version", "`scumble serve` brings it up to date"];
    desk.refuses(&["doctor", "--data", "--data-dir", "data"], 4, &words);
}

#[test]
fn a_doctor_answers_programs_too() {
    let desk = Desk::new();
    let out = desk.scumble(&["doctor", "--json", "--data-dir", "data", "--listen", "127.0.0.1:0"]);
    let told: serde_json::Value = serde_json::from_str(&succeeded(&out)).unwrap();
    let checks = told["checks"].as_array().unwrap();
    let found = |check: &str| checks.iter().find(|one| one["check"] == check).map(|one| &one["found"]);
    assert_eq!((found("database"), found("address")), (Some(&"note".into()), Some(&"ok".into())), "{told}");
    assert!(checks.iter().all(|one| !one["says"].as_str().unwrap().is_empty()), "{told}");
}
