//! `scumble backup` and `scumble restore`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::{Desk, Serving, plain, succeeded};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn small() -> Value {
    json!({ "prompt": "a star", "image_size": { "width": 64, "height": 64 } })
}

/// An input with a picture that is too large to be kept in the database: noise cannot be packed.
fn large() -> Value {
    let mut seed = 7u32;
    let noise = image::RgbImage::from_fn(200, 200, |_, _| {
        image::Rgb(std::array::from_fn(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        }))
    });
    let mut png = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut png, image::ImageFormat::Png).unwrap();
    json!({ "prompt": "a star", "image_url": format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())) })
}

/// A gateway as a caller with a key sees it.
#[derive(Clone)]
struct Caller {
    client: reqwest::Client,
    base: String,
    key: String,
}

impl Caller {
    fn of(server: &Serving, key: &str) -> Self {
        Self { client: plain(), base: server.url(""), key: format!("Key {key}") }
    }

    async fn submit(&self, endpoint: &str, input: &Value) -> String {
        let request = self.client.post(format!("{}/queue/{endpoint}", self.base)).header("authorization", &self.key);
        let answer: Value = request.json(input).send().await.unwrap().json().await.unwrap();
        answer["request_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn get(&self, url: &str) -> reqwest::Response {
        self.client.get(url).header("authorization", &self.key).send().await.unwrap()
    }

    /// The pictures of a request, once it has ended.
    async fn pictures(&self, app: &str, id: &str) -> Vec<Vec<u8>> {
        let request = format!("{}/queue/{app}/requests/{id}", self.base);
        // ends with the request
        let status = self.get(&format!("{request}/status/stream")).await;
        assert_eq!(status.status(), 200, "{id}");
        assert!(status.text().await.unwrap().contains("COMPLETED"), "{id}");
        let result = self.get(&request).await;
        assert_eq!(result.status(), 200, "{id}");
        let result: Value = result.json().await.unwrap();
        let mut pictures = Vec::new();
        for image in result["images"].as_array().unwrap() {
            let path = image["url"].as_str().unwrap().split_once("/cdn").unwrap().1;
            let picture = self.get(&format!("{}/cdn{path}", self.base)).await;
            assert_eq!(picture.status(), 200, "{id}: {image}");
            pictures.push(picture.bytes().await.unwrap().to_vec());
        }
        pictures
    }
}

fn backup(desk: &Desk, file: &str) -> Value {
    let told = succeeded(&desk.scumble(&["backup", file, "--data-dir", "data", "--json"]));
    serde_json::from_str(&told).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_was_acknowledged_before_a_backup_is_there_after_a_restore() {
    let desk = Arc::new(Desk::new());
    let key = succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"])).trim().to_owned();
    let server = desk.serve(&["--stand-in=5"]);
    let caller = Caller::of(&server, &key);
    let remix = caller.submit("fal-ai/ideogram/v3/remix", &large()).await;
    let (acknowledged, seen) = (Arc::new(Mutex::new(Vec::new())), Arc::new(tokio::sync::watch::Sender::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (caller, acknowledged, seen) = (caller.clone(), acknowledged.clone(), seen.clone());
            tokio::spawn(async move {
                loop {
                    let id = caller.submit("fal-ai/flux/dev", &small()).await;
                    acknowledged.lock().unwrap().push(id);
                    seen.send_modify(|number| *number += 1);
                }
            })
        })
        .collect();
    seen.subscribe().wait_for(|number| *number >= 60).await.unwrap();
    let before = acknowledged.lock().unwrap().clone();
    let backing = desk.clone();
    let told = tokio::task::spawn_blocking(move || backup(&backing, "all.tar")).await.unwrap();
    load.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(acknowledged.lock().unwrap().len() >= before.len(), "the server worked on");
    assert!(told["files"].as_u64().unwrap() >= 1 && told["missing"] == 0 && told["damaged"] == 0, "{told}");
    let drawn = caller.pictures("fal-ai/ideogram", &remix).await;
    drop(server);
    // an empty machine
    std::fs::rename(desk.path("data"), desk.path("gone")).unwrap();
    let told = succeeded(&desk.scumble(&["restore", "all.tar", "--data-dir", "new/data", "--json"]));
    assert!(serde_json::from_str::<Value>(&told).unwrap()["files"].as_u64().unwrap() >= 1, "{told}");
    let server = desk.serve_there("new/data");
    let caller = Caller { base: server.url(""), ..caller };
    for id in &before {
        assert!(!caller.pictures("fal-ai/flux", id).await[0].is_empty(), "{id}");
    }
    assert_eq!(caller.pictures("fal-ai/ideogram", &remix).await.len(), drawn.len());
    let stranger = Caller { key: "Key a:b".to_owned(), ..caller.clone() };
    let refused = stranger.get(&format!("{}/queue/fal-ai/flux/requests/{}", stranger.base, before[0])).await;
    assert_eq!(refused.status(), 401, "the keys are the old ones");
    drop(server);
    let told = succeeded(&desk.scumble(&["doctor", "--data", "--json", "--data-dir", "new/data"]));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(told["database"]["intact"] == true && told["files"]["missing"]["number"] == 0, "{told}");
}

/// A desk with an installation in `data` that has a few files, and nobody at work there.
async fn installation() -> Desk {
    let desk = Desk::new();
    let key = succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"])).trim().to_owned();
    let server = desk.serve(&["--stand-in=0"]);
    let caller = Caller::of(&server, &key);
    for _ in 0..3 {
        let id = caller.submit("fal-ai/ideogram/v3/remix", &large()).await;
        caller.pictures("fal-ai/ideogram", &id).await;
    }
    server.stop();
    desk
}

/// Every file below a folder, with its size.
fn tree(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let (path, about) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        all.push((path.clone(), if about.is_file() { about.len() } else { 0 }));
        all.extend(tree(&path));
    }
    all.sort();
    all
}

#[tokio::test]
async fn what_is_there_is_not_replaced_and_what_is_elsewhere_is_told() {
    let desk = installation().await;
    desk.write("there.tar", "mine");
    let place = ["--data-dir", "data"];
    desk.refuses(&[&["backup", "there.tar"], &place[..]].concat(), 4, &["there.tar is there already", "another name"]);
    assert_eq!(std::fs::read(desk.path("there.tar")).unwrap(), b"mine");
    desk.refuses(&["backup", "a.tar", "--data-dir", "none"], 4, &["there is no database", "--data-dir"]);
    desk.refuses(&["backup", "no/a.tar", "--data-dir", "data"], 4, &["cannot write into no"]);
    let postgres = ["backup", "a.tar", "--database", "postgres://me:s3cret@db/images"];
    let said = desk.refuses(&postgres, 2, &["pg_dump", "pg_restore", "/docs/operations"]);
    assert!(!said.contains("s3cret"), "{said}");
    for files in ["s3://images/here", "memory:"] {
        let args = [&["backup", "a.tar", "--files", files], &place[..]].concat();
        desk.refuses(&args, 2, &[files, "--without-files", "aws s3 sync"]);
    }
    desk.refuses(&["backup", "a.tar", "--data-dir", "data", "--files", "elsewhere"], 4, &["elsewhere, is not there"]);
    assert!(!desk.path("a.tar").exists());
    // the database alone
    let args = [&["backup", "a.tar", "--files", "s3://images", "--without-files", "--json"], &place[..]].concat();
    let told: Value = serde_json::from_str(&succeeded(&desk.scumble(&args))).unwrap();
    assert!(told["files"] == 0 && told["database_bytes"].as_u64().unwrap() > 0, "{told}");

    // a data dir that is in use, by a server or by anything else
    let server = desk.serve(&["--stand-in=0"]);
    let before = tree(&desk.path("data/files"));
    desk.refuses(&["restore", "a.tar", "--data-dir", "data"], 4, &["in data", "move the data dir away"]);
    assert_eq!(tree(&desk.path("data/files")), before);
    drop(server);
    std::fs::create_dir(desk.path("other")).unwrap();
    desk.write("other/note.txt", "mine");
    desk.refuses(&["restore", "a.tar", "--data-dir", "other"], 4, &["there is note.txt in other", "empty"]);
    desk.refuses(&["restore", "a.tar", "--data-dir", "a.tar"], 4, &["a.tar"]);
    desk.refuses(&["restore", "none.tar", "--data-dir", "new"], 4, &["none.tar"]);
    desk.refuses(&["restore", "data", "--data-dir", "new"], 4, &["data is not a file"]);
    assert!(!desk.path("new").exists());
    // a fresh volume has a folder of the file system's own
    std::fs::create_dir_all(desk.path("volume/lost+found")).unwrap();
    let restored = desk.scumble(&["restore", "a.tar", "--data-dir", "volume", "--json"]);
    let told: Value = serde_json::from_str(&succeeded(&restored)).unwrap();
    assert!(desk.path("volume/scumble.db").exists());
    // whose files are elsewhere still has to say where
    let said = String::from_utf8_lossy(&restored.stderr);
    assert!(told["files"] == 0 && told["files_elsewhere"].as_u64() > Some(0), "{told}");
    assert!(said.contains("without the ") && said.contains("`scumble serve --data-dir volume --files URL`"), "{said}");
    backup(&desk, "b.tar");
    let whole = desk.scumble(&["restore", "b.tar", "--data-dir", "whole", "--json"]);
    let said = String::from_utf8_lossy(&whole.stderr);
    assert!(said.contains("`scumble serve --data-dir whole`"), "{said}");
    assert!(succeeded(&whole).contains("\"files_elsewhere\":0"));
}

#[cfg(unix)]
#[tokio::test]
async fn backups_are_private_and_leave_nothing_beside_them() {
    use std::os::unix::fs::PermissionsExt;
    let desk = installation().await;
    let before: Vec<_> = tree(&desk.path("data")).into_iter().map(|(path, _)| path).collect();
    backup(&desk, "b.tar");
    let packed = backup(&desk, "b.tar.gz");
    assert!(std::fs::read(desk.path("b.tar.gz")).unwrap().starts_with(&[0x1f, 0x8b]), "{packed}");
    let after: Vec<_> = tree(&desk.path("data")).into_iter().map(|(path, _)| path).collect();
    assert_eq!(after, before, "nothing is left in the data dir");
    let left = std::fs::read_dir(desk.path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<_> = left.collect();
    left.sort();
    assert_eq!(left, ["b.tar", "b.tar.gz", "data"]);
    let mode = |path: &str| std::fs::metadata(desk.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("b.tar"), mode("b.tar.gz")), (0o600, 0o600));
    succeeded(&desk.scumble(&["restore", "b.tar.gz", "--data-dir", "new"]));
    assert_eq!((mode("new"), mode("new/scumble.db"), mode("new/files")), (0o700, 0o600, 0o700));
    let restored: Vec<_> = tree(&desk.path("new/files/b")).into_iter().map(|(_, bytes)| bytes).collect();
    let made: Vec<_> = tree(&desk.path("data/files/b")).into_iter().map(|(_, bytes)| bytes).collect();
    assert!(restored.iter().sum::<u64>() > 0);
    assert!(restored.len() <= made.len());
}

#[tokio::test]
async fn a_cut_archive_is_told_and_leaves_the_data_dir_as_it_was() {
    let desk = installation().await;
    std::fs::create_dir(desk.path("empty")).unwrap();
    for name in ["c.tar", "c.tar.gz"] {
        backup(&desk, name);
        let whole = std::fs::read(desk.path(name)).unwrap();
        // a tar archive ends with blocks of zeros that nobody needs
        let end = if name == "c.tar" { whole.len() - 1024 } else { whole.len() };
        let lengths = (1..12).map(|part| end * part / 12).chain([1, 511, 512, 513, end - 513, end - 1]);
        for length in lengths {
            std::fs::write(desk.path("cut.tar"), &whole[..length]).unwrap();
            for (dir, is_there) in [("empty", true), ("new/dir", false)] {
                let said = desk.refuses(&["restore", "cut.tar", "--data-dir", dir], 4, &["cut.tar"]);
                assert!(said.contains("ends too early"), "{name} {length}: {said}");
                assert_eq!(desk.path(dir).exists(), is_there, "{length}");
                assert_eq!(tree(&desk.path(dir)), [], "{length}");
            }
            assert!(!desk.path("new").exists());
        }
        // bytes that changed
        for at in [30, end / 3, end / 2, end - 600] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(desk.path("cut.tar"), &flipped).unwrap();
            let out = desk.scumble(&["restore", "cut.tar", "--data-dir", "empty"]);
            // a bit of a time or a mode changes nothing
            if !out.status.success() {
                assert_eq!(out.status.code(), Some(4), "{out:?}");
                assert_eq!(tree(&desk.path("empty")), [], "{at}");
            } else {
                std::fs::remove_dir_all(desk.path("empty")).unwrap();
                std::fs::create_dir(desk.path("empty")).unwrap();
            }
        }
    }
}

/// Something in an archive, with the name's bytes as they are.
#[derive(Clone)]
struct Item {
    kind: EntryType,
    name: String,
    bytes: Vec<u8>,
}

fn item(name: &str, bytes: impl Into<Vec<u8>>) -> Item {
    Item { kind: EntryType::Regular, name: name.to_owned(), bytes: bytes.into() }
}

/// What is in an archive.
fn read(path: &Path) -> Vec<Item> {
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    let mut items = Vec::new();
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        items.push(Item { kind: entry.header().entry_type(), name, bytes });
    }
    items
}

/// An archive of these, with a manifest that fits them where none is among them.
fn written(items: &[Item]) -> Vec<u8> {
    let (mut archive, mut manifest) = (Vec::new(), String::new());
    for Item { kind, name, bytes } in items {
        let mut header = Header::new_ustar();
        let (prefix, last) = if name.len() > 100 { name.split_at(name.rfind('/').unwrap()) } else { ("", &**name) };
        let fields = header.as_ustar_mut().unwrap();
        let last = last.trim_start_matches(if prefix.is_empty() { '\0' } else { '/' });
        fields.name[..last.len()].copy_from_slice(last.as_bytes());
        fields.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
        if *kind == EntryType::Symlink || *kind == EntryType::Link {
            fields.linkname[..11].copy_from_slice(b"/etc/passwd");
        }
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o777);
        header.set_cksum();
        archive.write_all(header.as_bytes()).unwrap();
        archive.write_all(bytes).unwrap();
        archive.resize(archive.len().next_multiple_of(512), 0);
        let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        manifest += &format!("{sum}  {}  {name}\n", bytes.len());
    }
    if items.iter().all(|item| item.name != "manifest") {
        let items = [item("manifest", manifest)];
        return [archive, written(&items)].concat();
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn place_of(items: &[Item], name: &str) -> usize {
    items.iter().position(|item| item.name.starts_with(name)).unwrap_or_else(|| panic!("{name} is missing"))
}

#[tokio::test]
async fn a_hostile_archive_gets_nowhere() {
    let desk = installation().await;
    backup(&desk, "good.tar");
    let mut good = read(&desk.path("good.tar"));
    good.pop_if(|item| item.name == "manifest").unwrap();
    let check = |what: &str, items: &[Item], words: &[&str]| {
        std::fs::write(desk.path("bad.tar"), written(items)).unwrap();
        let before = tree(&desk.path(""));
        let said = desk.refuses(&["restore", "bad.tar", "--data-dir", "new/deep"], 4, words);
        assert_eq!(tree(&desk.path("")), before, "{what}: {said}");
    };
    // what is written here is as good as what the program writes
    std::fs::write(desk.path("same.tar"), written(&good)).unwrap();
    succeeded(&desk.scumble(&["restore", "same.tar", "--data-dir", "same"]));

    let hex = "0123456789abcdef0123456789abcdef";
    let with = |at: usize, item: Item| {
        let mut items = good.clone();
        items.insert(at, item);
        items
    };
    for name in [
        "../evil",
        "/etc/evil",
        "files/../../evil",
        &format!("files/b/{hex}/../../../../evil"),
        "evil",
        "files/evil",
        &format!("files/b/{hex}/.evil"),
        &format!("files/b/{hex}/a/b.png"),
        "tls/ca-key.pem",
        "scumble.db-wal",
        "",
        &format!("files//b/{hex}/a.png"),
        "files/b/\u{202e}/a.png",
        "scumble.toml",
    ] {
        check(name, &with(1, item(name, "evil")), &["has no business in a backup"]);
    }
    let path = format!("files/b/{hex}/image.png");
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::Continuous,
    ] {
        let bytes = if kind.is_hard_link() || kind.is_symlink() { "" } else { "evil" };
        check(&format!("{kind:?}"), &with(1, Item { kind, ..item(&path, bytes) }), &["is not a plain file"]);
    }
    // more than it says, twice, in another order
    check("too many", &with(1, item(&path, "evil")), &["more files than it says"]);
    let file = good[place_of(&good, "files/")].clone();
    let mut twice = with(1, file.clone());
    for (number, name) in [(100, "files"), (100_000_000, "file_bytes")] {
        let mut head: Value = serde_json::from_slice(&twice[0].bytes).unwrap();
        head[name] = json!(number);
        twice[0].bytes = head.to_string().into();
    }
    check("twice", &twice, &["is in it twice"]);
    let database = place_of(&good, "scumble.db");
    check("two heads", &with(1, good[0].clone()), &["is not in its place"]);
    check("two databases", &with(database, good[database].clone()), &["is not in its place"]);
    check("no head", &good[1..], &["is not in its place"]);
    let mut late = good.clone();
    late.swap(database - 1, database);
    check("a file behind the database", &late, &["is not in its place"]);
    let mut none = good.clone();
    none.remove(database);
    check("no database", &none, &["is not in its place"]);
    let manifest = read(&desk.path("good.tar")).pop().unwrap();
    check(
        "more after the manifest",
        &[&good[..], &[manifest.clone(), item(&path, "evil")]].concat(),
        &["not in its place"],
    );
    check("two manifests", &[&good[..], &[manifest.clone(), manifest.clone()]].concat(), &["not in its place"]);
    // bytes and sums that do not fit
    let mut changed = good.clone();
    let at = place_of(&good, "files/");
    changed[at].bytes[0] ^= 1;
    check(
        "changed",
        &[&changed[..], std::slice::from_ref(&manifest)].concat(),
        &[&good[at].name, "not what its manifest says"],
    );
    let mut short = manifest.clone();
    short.bytes.truncate(short.bytes.len() - 20);
    check("a short manifest", &[&good[..], &[short]].concat(), &["not what its manifest says"]);
    let mut long = manifest.clone();
    long.bytes.extend(b"more");
    check("a long manifest", &[&good[..], &[long]].concat(), &["not what its manifest says"]);
    // heads
    let with_head = |name: &str, value: Value| {
        let mut items = good.clone();
        let mut head: Value = serde_json::from_slice(&items[0].bytes).unwrap();
        head[name] = value;
        items[0].bytes = head.to_string().into();
        items
    };
    check("newer", &with_head("scumble_backup", json!(99)), &["a newer version of Scumble"]);
    check("larger than disks are", &with_head("file_bytes", json!(u64::MAX)), &["has room for"]);
    check("a small database", &with_head("database_bytes", json!(10)), &["database is larger than it says"]);
    check("negative", &with_head("files", json!(-1)), &["is not a backup of Scumble"]);
    check("not a number", &with_head("scumble_backup", json!("x")), &["is not a backup of Scumble"]);
    check("a long head", &with_head("program", json!("x".repeat(5000))), &["is too long"]);
}

#[tokio::test]
async fn a_hostile_database_gets_nowhere() {
    let desk = installation().await;
    backup(&desk, "good.tar");
    let mut good = read(&desk.path("good.tar"));
    good.pop_if(|item| item.name == "manifest").unwrap();
    let at = place_of(&good, "scumble.db");
    let mut head: Value = serde_json::from_slice(&good[0].bytes).unwrap();
    head["database_bytes"] = json!(100_000_000);
    good[0].bytes = head.to_string().into();
    let edited = |sql: &str| {
        let file = desk.path("edited.db");
        std::fs::write(&file, &good[at].bytes).unwrap();
        let db = rusqlite::Connection::open(&file).unwrap();
        db.execute_batch(sql).unwrap();
        db.close().unwrap();
        std::fs::read(&file).unwrap()
    };
    let index = good[at].bytes.len() / 2;
    let mut torn = good[at].bytes.clone();
    torn[index..index + 8192].fill(0xa5);
    for (what, bytes, words) in [
        ("no database", b"hello".to_vec(), &["cannot be used"][..]),
        ("empty", Vec::new(), &["not a database of this program"]),
        ("another program's", edited("DROP TABLE schema_version"), &["not a database of this program"]),
        ("a table less", edited("DROP TABLE visits"), &["table visits is not the one of version"]),
        (
            "a trigger",
            edited("CREATE TRIGGER evil AFTER INSERT ON jobs BEGIN DELETE FROM keys; END"),
            &["trigger evil"],
        ),
        ("a view", edited("CREATE VIEW evil AS SELECT * FROM keys"), &["view evil"]),
        ("newer", edited("INSERT INTO schema_version VALUES (99, 0)"), &["schema version 99"]),
        ("torn", torn, &["cannot be used"]),
    ] {
        let mut items = good.clone();
        items[at].bytes = bytes;
        std::fs::write(desk.path("bad.tar"), written(&items)).unwrap();
        let said = desk.refuses(&["restore", "bad.tar", "--data-dir", "new"], 4, words);
        assert!(!desk.path("new").exists(), "{what}: {said}");
    }
    // an index that somebody has added does no harm
    good[at].bytes = edited("CREATE INDEX mine ON jobs (created_ms)");
    std::fs::write(desk.path("mine.tar"), written(&good)).unwrap();
    succeeded(&desk.scumble(&["restore", "mine.tar", "--data-dir", "mine"]));
    desk.serve_there("mine").stop();
}

/// One file of an installation gets as long as this, without taking room; it comes first. Returns the others.
fn stretch(desk: &Desk, bytes: u64) -> Vec<String> {
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    let mut rows = db.prepare("SELECT path FROM files ORDER BY path").unwrap();
    let paths: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let is_there = |path: &&String| desk.path("data/files").join(path).exists();
    let mut there = paths.iter().filter(is_there);
    let first = there.next().unwrap();
    let rest = there.cloned().collect();
    let file = std::fs::File::options().write(true).open(desk.path("data/files").join(first)).unwrap();
    file.set_len(bytes).unwrap();
    db.execute("UPDATE files SET bytes = ?1 WHERE path = ?2", rusqlite::params![bytes as i64, first]).unwrap();
    rest
}

/// A backup under way: its archive has begun.
#[cfg(unix)]
fn begun(desk: &Desk, file: &str) -> Child {
    let mut command = desk.command(&["backup", file, "--data-dir", "data", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    loop {
        let aside = std::fs::read_dir(desk.path("")).unwrap().map(|entry| entry.unwrap().path());
        let is_aside = |path: &PathBuf| path.to_string_lossy().contains(".scumble-backup-");
        if aside.filter(is_aside).any(|path| path.join("archive").exists()) {
            return child;
        }
        assert!(child.try_wait().unwrap().is_none(), "{:?}", child.wait_with_output());
        assert!(began.elapsed() < PATIENCE, "no archive");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn who_interrupts_a_backup_finds_nothing_of_it() {
    let desk = installation().await;
    stretch(&desk, 1 << 31);
    let names = || tree(&desk.path("")).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let before = names();
    for signal in ["-INT", "-TERM"] {
        let child = begun(&desk, "i.tar.gz");
        let told = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130), "{out:?}");
        assert_eq!(names(), before);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn files_that_are_deleted_meanwhile_are_not_missed() {
    let desk = installation().await;
    let rest = stretch(&desk, 1 << 28);
    let (gone, lost) = (&rest[rest.len() - 1], &rest[rest.len() - 2]);
    // one is lost before, with its row left
    std::fs::remove_file(desk.path("data/files").join(lost)).unwrap();
    let child = begun(&desk, "d.tar.gz");
    std::fs::remove_file(desk.path("data/files").join(gone)).unwrap();
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    db.execute("DELETE FROM files WHERE path = ?1", [gone]).unwrap();
    let out: Output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(4), "{said}");
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&told["deleted_meanwhile"], &told["missing"]), (&json!(1), &json!(1)), "{told}");
    assert!(said.contains("1 files that the database knows are not in their folder"), "{said}");
    succeeded(&desk.scumble(&["restore", "d.tar.gz", "--data-dir", "new"]));
    let doctor = desk.scumble(&["doctor", "--data", "--json", "--data-dir", "new"]);
    let told: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(told["files"]["missing"]["some"], json!([lost]), "the row of what was deleted has gone: {told}");
}

/// Runs a command that may write files of so many blocks of 512 bytes and no longer ones, as a full disk would stop it.
#[cfg(unix)]
fn with_little_room(desk: &Desk, blocks: u32, args: &[&str]) -> Output {
    let command = desk.command(args);
    let mut shell = std::process::Command::new("sh");
    // without the trap the signal would end it
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\""));
    shell.arg(command.get_program()).args(command.get_args()).current_dir(desk.path(""));
    shell.env_clear().env("HOME", desk.path("")).env("PATH", "/usr/bin:/bin").output().unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_leaves_nothing_of_a_backup_or_a_restore() {
    let desk = installation().await;
    backup(&desk, "whole.tar");
    let before = tree(&desk.path(""));
    let backups = [["backup", "f.tar", "--data-dir", "data"], ["backup", "f.tar.gz", "--data-dir", "data"]];
    let restores = [["restore", "whole.tar", "--data-dir", "new"]];
    // a part of the database, a part of the files; what a look at a database needs beside it has 64 blocks
    for (blocks, commands) in [(70, &backups[..]), (700, &backups), (8, &restores), (100, &restores)] {
        for args in commands {
            let out = with_little_room(&desk, blocks, args);
            let said = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(4), "{args:?} with {blocks}: {said}");
            assert!(said.contains("Nothing of it was kept"), "{args:?} with {blocks}: {said}");
            assert_eq!(tree(&desk.path("")), before, "{args:?} with {blocks}: {said}");
        }
    }
}

/// A database of the version before this one is what an upgrade begins with.
#[tokio::test]
async fn an_older_database_can_be_backed_up_and_restored() {
    let desk = installation().await;
    let db = rusqlite::Connection::open(desk.path("data/scumble.db")).unwrap();
    db.execute_batch("DROP TABLE visits; DELETE FROM schema_version WHERE version = 6").unwrap();
    db.close().unwrap();
    backup(&desk, "old.tar");
    succeeded(&desk.scumble(&["restore", "old.tar", "--data-dir", "new"]));
    let server = desk.serve_there("new");
    server.stop();
}
