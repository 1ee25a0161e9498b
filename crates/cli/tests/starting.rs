//! A server that cannot work does not start: it says all that is wrong, with doctor's exit code, and leaves nothing half
//! up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::net::TcpListener;
use std::path::Path;

use common::Desk;
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
