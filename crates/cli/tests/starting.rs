//! A server that cannot work does not start: it says all that is wrong, with doctor's exit code, and leaves nothing half
//! up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::net::TcpListener;
use std::path::Path;

use common::{Desk, plain, star, succeeded};
use scumble_testkit::tiny::{self, Variant};

const FREE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];

#[test]
fn weights_that_cannot_be_used_end_a_start_with_3() {
    let desk = Desk::new();
    let refuses = |folder: &str, words: &[&str]| {
        let weights = format!("fal-ai/flux/schnell={folder}");
        let words = [&["fal-ai/flux/schnell", folder], words].concat();
        desk.refuses(&[&FREE[..], &["--weights", &weights]].concat(), 3, &words);
    };
    refuses("/nope", &["no such file or folder"]);
    desk.write("file", "x");
    refuses("file", &["safetensors"]);
    std::fs::create_dir(desk.path("empty")).unwrap();
    refuses("empty", &["model_index.json"]);
    // another kind of model
    std::fs::create_dir(desk.path("other")).unwrap();
    desk.write("other/model_index.json", r#"{"_class_name": "WanPipeline"}"#);
    refuses("other", &["WanPipeline", "FluxPipeline"]);
    // a part is missing, and a file is cut short: both would be found out by the first job otherwise
    for (name, damage) in [("missing", remove as fn(&Path)), ("cut", cut_short)] {
        tiny::of(Variant::Schnell).write(desk.path(name));
        damage(&desk.path(name).join("vae/diffusion_pytorch_model.safetensors"));
        refuses(name, &["vae/diffusion_pytorch_model.safetensors"]);
    }
    // several wrong folders are all named
    let both = ["--weights", "fal-ai/flux/schnell=one", "--weights", "fal-ai/flux/dev=two"];
    desk.refuses(&[&FREE[..], &both].concat(), 3, &["one", "two"]);
    assert!(!desk.path("data").join("tls").exists());
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

fn cut_short(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn everything_else_ends_a_start_with_4() {
    let desk = Desk::new();
    let refuses = |args: &[&str], words: &[&str]| desk.refuses(&[&FREE[..], args].concat(), 4, words);
    desk.write("file", "not a folder");
    refuses(&["--files", "file"], &["file", "--files"]);
    refuses(&["--database", "sqlite:file/x.db"], &["file"]);
    desk.write("scumble.toml", "[server]\ntls = { cert = \"a\", key = \"b\" }\n");
    refuses(&["--config", "scumble.toml"], &["[server] tls: cannot read a"]);
    // weights and something else
    refuses(&["--files", "file", "--weights", "fal-ai/flux/schnell=/nope"], &["--files", "/nope"]);
    desk.refuses(&["serve", "--data-dir", "file", "--listen", "127.0.0.1:0"], 4, &["data dir file", "--data-dir"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    desk.refuses(&["serve", "--listen", &address, "--data-dir", "data"], 4, &[&address, "in use", "--listen"]);
}

#[test]
fn a_database_that_is_not_reached_is_told_once_and_nobody_goes_on_asking() {
    let desk = Desk::new();
    // nobody listens there
    let database = ["--database", "postgres://me@127.0.0.1:1/d"];
    for command in ["serve", "doctor"] {
        let listen = ["--listen", "127.0.0.1:0", "--data-dir", "data"];
        let out = desk.scumble(&[&[command][..], &listen, &database].concat());
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(4), "{command}: {said}");
        assert!(said.contains("the database does not answer") && !said.contains("goes on asking"), "{said}");
    }
}

#[test]
fn a_start_says_how_long_results_are_kept() {
    let desk = Desk::new();
    let kept = |args: &[&str], log: &str| {
        desk.serve_logging(args, &[], log).stop();
        let log = std::fs::read_to_string(desk.path(log)).unwrap();
        let line = log.lines().find(|line| line.contains("results are kept")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{log}"))
    };
    let usual = kept(&[], "one.txt");
    assert!(usual.ends_with("results are kept for 30 days (another time: [retention] results_s)"), "{usual}");
    desk.write("scumble.toml", "[retention]\nresults_s = \"7 d\"\n");
    let set = kept(&["--config", "scumble.toml"], "two.txt");
    assert!(set.ends_with("results are kept for 7 days, as [retention] results_s says"), "{set}");
}

/// What a refused start has touched is free for the next one, and no job was taken.
#[test]
fn nothing_is_left_half_up() {
    let desk = Desk::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = port.to_string();
    let args = ["serve", "--listen", &listen, "--data-dir", "data", "--tls-dev", "--weights", "fal-ai/flux/dev=/nope"];
    let said = desk.refuses(&args, 3, &["/nope"]);
    assert!(!said.contains("listens"), "{said}");
    assert!(std::net::TcpStream::connect(port).is_err(), "nobody listens");
    assert!(!desk.path("data/tls").exists(), "no authority is made for a server that does not start");
    let leftover = std::fs::read_dir(desk.path("data")).unwrap().map(|entry| entry.unwrap().file_name());
    for name in leftover {
        let name = name.into_string().unwrap();
        assert!(!name.ends_with("-wal") && !name.starts_with(".probe"), "the database was closed: {name}");
    }
    desk.serve(&[]).stop();
}

/// A key in another database would open nothing here.
#[test]
fn who_needs_a_key_is_told_how_to_make_one_in_the_database_in_use() {
    let desk = Desk::new();
    desk.write("url", "sqlite:from-file.db\n");
    desk.write("scumble.toml", "[store]\nurl = \"sqlite:from-config.db\"\n");
    let open = ["serve", "--role", "gateway", "--listen", "0.0.0.0:0", "--data-dir", "data"];
    for (flags, create) in [
        (&[][..], "scumble keys create --data-dir data"),
        (&["--database-file", "url"], "scumble keys create --database-file url"),
        (&["--database", "sqlite:typed.db"], "scumble keys create --database sqlite:typed.db"),
        (&["--config", "scumble.toml"], "scumble keys create --config scumble.toml"),
    ] {
        let serve = [&open[..], flags].concat();
        let advice = format!("Make one with `{create}`, or");
        desk.refuses(&serve, 2, &[&advice]);
        let doctor = [&["doctor"], &serve[1..]].concat();
        let before = desk.scumble(&doctor);
        assert!(String::from_utf8_lossy(&before.stdout).contains(&advice), "{before:?}");
        let words: Vec<&str> = create.split(' ').skip(1).collect();
        succeeded(&desk.scumble(&words));
        assert!(succeeded(&desk.scumble(&doctor)).contains("callers need a key; 1 can be used"), "{create}");
    }
    let variable = desk.command(&open).env("DATABASE_URL", "sqlite:variable.db").output().unwrap();
    let said = String::from_utf8_lossy(&variable.stderr);
    assert!(said.contains("Make one with `scumble keys create` with the DATABASE_URL that this server has"), "{said}");
}

/// Every call would get a 503.
#[tokio::test]
async fn too_little_space_is_told_before_the_first_call() {
    let desk = Desk::new();
    // more than any disk of a test has
    desk.write("scumble.toml", "[store]\nfree_bytes = \"900 TB\"\n");
    let doctor = ["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let well = succeeded(&desk.scumble(&doctor));
    let line = |said: &str| said.lines().find(|line| line.contains("  space  ")).map(str::to_owned);
    let well = line(&well).unwrap_or_else(|| panic!("{well}"));
    assert!(well.starts_with("ok") && well.ends_with("B are left, and [store] free_bytes asks for 256 MiB"), "{well}");
    // on a new machine, and where there is a database
    for _ in 0..2 {
        let said = succeeded(&desk.scumble(&[&doctor[..], &["--config", "scumble.toml"]].concat()));
        let said = line(&said).unwrap_or_else(|| panic!("{said}"));
        assert!(said.starts_with("note   space      ") && said.contains("get a 503"), "{said}");
        assert!(said.contains("where the database is, and [store] free_bytes asks for 900000 GB"), "{said}");
        desk.serve(&[]).stop();
    }
    let server = desk.serve_logging(&["--config", "scumble.toml"], &[], "log");
    let refused = plain().post(server.url("/run/scumble/starter")).json(&star()).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    let log = std::fs::read_to_string(desk.path("log")).unwrap();
    let data = desk.path("data").canonicalize().unwrap();
    let place = format!("B are left in {}, where the database is", data.display());
    for words in ["WARN", "no new work until more space is free: "] {
        assert!(log.lines().any(|line| line.contains(words) && line.contains(&place)), "{words}: {log}");
    }
}

/// What root has made is root's, and its user finds out here.
#[cfg(unix)]
#[test]
fn a_database_of_another_user_is_told_with_whose_it_is() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let desk = Desk::new();
    succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"]));
    let (data, database) = (desk.path("data"), desk.path("data/scumble.db"));
    let is_root = std::fs::metadata(&database).unwrap().uid() == 0;
    // root may open everything, anybody else not even their own file that is shut
    let set = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let program = desk.path("scumble");
    if is_root {
        std::fs::hard_link(env!("CARGO_BIN_EXE_scumble"), &program)
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_scumble"), &program).map(drop))
            .unwrap();
        set(&desk.path(""), 0o755);
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    } else {
        set(&database, 0);
    }
    let said = |args: &[&str]| {
        let mut command = desk.command(&[args, &["--data-dir", "data"]].concat());
        if is_root {
            let mut other = std::process::Command::new(&program);
            other.args(command.get_args()).current_dir(desk.path("")).env_clear().env("HOME", desk.path(""));
            other.uid(NOBODY).gid(NOBODY);
            command = other;
        }
        let out = command.output().unwrap();
        assert_eq!(out.status.code(), Some(4), "{args:?}: {out:?}");
        [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    };
    let (owner, mode) = if is_root { ("belongs to root", "600") } else { ("belongs to ", "0") };
    let listen = ["--listen", "127.0.0.1:0"];
    for args in [&["keys", "list"][..], &[&["serve"], &listen[..]].concat(), &[&["doctor"], &listen[..]].concat()] {
        let said = said(args);
        for words in
            ["may not open the database file data/scumble.db: it ", owner, &format!("with mode {mode};"), "chown"]
        {
            assert!(said.contains(words), "{args:?}: {words}: {said}");
        }
        assert!(!said.contains("check that its folder exists"), "{said}");
    }
    // the same for the folder
    if is_root {
        chown(&data, Some(0), Some(0)).unwrap();
    } else {
        set(&database, 0o600);
        set(&data, 0);
    }
    let said = said(&["keys", "list"]);
    set(&data, 0o700);
    assert!(said.contains("may not open the database file data/scumble.db: the folder data belongs to "), "{said}");
}
