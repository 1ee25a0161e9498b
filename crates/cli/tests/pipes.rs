//! What goes through pipes: pictures on stdout, prompts on stdin, readers that go away, terminals and what is none.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::{Read, Write};
use std::process::{Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{Desk, succeeded};
use image::ImageFormat;
use scumble_store::{Options, SqliteStore, Store};

const QUICK: [&str; 4] = ["-i", "num_inference_steps=1", "--seed", "3"];

fn fed(desk: &Desk, args: &[&str], stdin: &[u8]) -> Output {
    let mut command = desk.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // who refuses what is too long does not read all of it
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn is_one_picture(bytes: &[u8], format: ImageFormat) {
    assert_eq!(image::guess_format(bytes).unwrap(), format);
    assert_eq!(image::load_from_memory(bytes).unwrap().width(), 256);
}

#[test]
fn a_picture_goes_to_stdout_and_nothing_else() {
    let desk = Desk::new();
    let out = desk.scumble(&[&["run", "a red circle", "-o", "-"], &QUICK[..]].concat());
    assert!(out.status.success());
    is_one_picture(&out.stdout, ImageFormat::Png);
    let file = desk.scumble(&[&["run", "a red circle", "-o", "x.png"], &QUICK[..]].concat());
    assert_eq!(succeeded(&file), "x.png\n");
    assert_eq!(out.stdout, std::fs::read(desk.path("x.png")).unwrap(), "the same bytes, to the last");
    // off a terminal, a line for each stage
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(said, "Loading the model\nReading the prompt\nDrawing\nDecoding\n");
    let jpeg = desk.scumble(&[&["run", "x", "-o", "-", "-i", "output_format=jpeg"], &QUICK[..]].concat());
    is_one_picture(&jpeg.stdout, ImageFormat::Jpeg);
    desk.refuses(&["run", "x", "-o", "-", "-i", "num_images=2"], 2, &["-o -", "one picture", "2 were asked for"]);
    desk.refuses(&["run", "x", "-o", "-", "--json"], 2, &["-o -", "--json"]);
}

#[test]
fn a_prompt_comes_from_stdin() {
    let desk = Desk::new();
    let out = fed(&desk, &[&["run", "-", "-o", "-"], &QUICK[..]].concat(), b"a red circle\n");
    is_one_picture(&out.stdout, ImageFormat::Png);
    let typed = desk.scumble(&[&["run", "a red circle", "-o", "-"], &QUICK[..]].concat());
    assert_eq!(out.stdout, typed.stdout, "the end of the line is not part of the prompt");
    let named = fed(&desk, &[&["run", "scumble/starter", "-", "-o", "-"], &QUICK[..]].concat(), b"a red circle");
    assert_eq!(named.stdout, typed.stdout);
    let input = br#"{"prompt": "a red circle", "num_inference_steps": 1, "seed": 3}"#;
    assert_eq!(fed(&desk, &["run", "--input", "-", "-o", "-"], input).stdout, typed.stdout);
    let refused = |args: &[&str], stdin: &[u8], words: &str| {
        let out = fed(&desk, args, stdin);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(2) && said.contains(words) && out.stdout.is_empty(), "{said}");
    };
    refused(&["run", "-", "-o", "-"], &vec![b'a'; 32 * 1024 + 1], "32 KiB");
    refused(&["run", "-", "-o", "-"], b"\xff\xfe", "UTF-8");
    refused(&["run", "-", "--input", "-"], b"x", "both");
}

#[test]
fn a_reader_who_goes_away_is_no_accident() {
    let desk = Desk::new();
    for args in [&["models", "list"][..], &["models", "list", "--json"], &["completions", "bash"], &["run", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let out = desk.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && !said.contains("panicked"), "{args:?}: {:?} {said}", out.status);
    }
    // words on stderr that nobody reads do not keep a picture from being made
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let out = desk.command(&[&["run", "x", "-o", "x.png"], &QUICK[..]].concat()).stderr(writer).output().unwrap();
    assert_eq!(succeeded(&out), "x.png\n");
    // a server goes on
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--tls-dev"]);
    let mut serving = command.env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(writer).spawn().unwrap();
    let mut stdout = serving.stdout.take().unwrap();
    let mut begin = [0; 27];
    stdout.read_exact(&mut begin).unwrap();
    drop(stdout);
    assert_eq!(&begin, b"Scumble listens on http://1");
    let id = serving.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(serving.wait().unwrap().success(), "it was still there, and ends in order");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_told() {
    let desk = Desk::new();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let args = [&["run", "x", "-o", "-"], &QUICK[..]].concat();
    let out = desk.command(&args).stdout(full()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(4) && said.contains("cannot write to stdout"), "{said}");
    // a key that nobody has seen is of no use
    let create = ["keys", "create", "--data-dir", "data"];
    let out = desk.command(&create).stdout(full()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(4) && said.contains("keys revoke"), "{said}");
}

#[test]
fn a_picture_is_shown_where_it_can_be() {
    let desk = Desk::new();
    let show = |how: &str| desk.scumble(&[&["run", "a red circle", "-o", "x.png", how], &QUICK[..]].concat());
    let shown = |out: &Output| String::from_utf8(out.stderr.clone()).unwrap();
    // whoever names a way is believed; the path is still all that stdout has
    let kitty = show("--show=kitty");
    assert_eq!(succeeded(&kitty), "x.png\n");
    let text = shown(&kitty);
    let text = &text[text.find("\x1b_G").unwrap()..];
    let data: String = text.split("\x1b\\").filter_map(|piece| Some(piece.split_once(';')?.1)).collect();
    is_one_picture(&BASE64.decode(data).unwrap(), ImageFormat::Png);
    let iterm = show("--show=iterm");
    let text = shown(&iterm);
    let data = text.split_once("\x1b]1337;File=inline=1;").unwrap().1.split_once(':').unwrap().1;
    is_one_picture(&BASE64.decode(data.split_once('\x07').unwrap().0).unwrap(), ImageFormat::Png);
    assert!(shown(&show("--show=sixel")).contains("\x1bP0;1q\"1;1;256;256#0;2;"));
    // and where none is known that is said before anything is drawn
    let said = desk.refuses(&["run", "x", "--show", "-o", "y.png"], 2, &["--show", "terminal"]);
    assert!(!said.contains("Drawing") && !desk.path("y.png").exists());
    desk.refuses(&["run", "x", "--show=magic"], 2, &["magic", "kitty", "iterm", "sixel"]);
}

/// Bidirectional controls, escapes, ends of lines: in a label, a prompt, an endpoint's name.
const WILD: &str = "evil\u{202e}\x1b[2J\u{9b}31m\u{200b}\nnext";

fn assert_tame(text: &str) {
    let wild = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{200b}".contains(c);
    assert!(!text.contains(wild), "{text:?}");
}

#[tokio::test]
async fn nothing_hidden_reaches_a_terminal() {
    let desk = Desk::new();
    let scumble = |args: &[&str]| {
        let out = desk.scumble(&[args, &["--data-dir", "data"]].concat());
        let text = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
        assert_tame(&text);
        text
    };
    scumble(&["keys", "create", "--label", WILD]);
    let keys = scumble(&["keys", "list"]);
    assert!(keys.lines().count() == 1 && keys.contains("evil\\u{202e}\\u{1b}[2J"), "{keys}");

    let store = SqliteStore::open(desk.path("data/scumble.db"), Options::default()).await.unwrap();
    let job = scumble_store::NewJob::new("scumble/starter", serde_json::json!({ "prompt": WILD }));
    let scumble_store::Enqueued::New { job, .. } = store.enqueue(job, Default::default()).await.unwrap() else {
        panic!("not accepted")
    };
    store.close().await;
    let id = job.id.to_string();
    assert!(scumble(&["jobs", "list"]).contains(&id));
    for json in [&[][..], &["--json"]] {
        let text = scumble(&[&["jobs", "show", &id], json].concat());
        assert!(text.contains("evil\\u202e"), "{text}");
    }
    let shown: serde_json::Value = serde_json::from_str(&scumble(&["jobs", "show", &id, "--json"])).unwrap();
    assert_eq!(shown["input"]["prompt"], WILD, "programs read what was sent");

    // errors and warnings, ours and those of the parser of commands
    for args in [
        &["jobs", "list", "--endpoint", WILD][..],
        &["keys", "revoke", WILD],
        &["models", "show", WILD],
        &["run", "a/b", WILD],
        &["run", "x", "-o", WILD],
        &["run", "x", "--device", WILD],
        &["run", "x", "-i", WILD],
        &["run", "x", "--input", WILD],
        &["serve", "--listen", WILD],
        &["serve", "--config", WILD],
        &[WILD],
    ] {
        let out = desk.scumble(args);
        assert_tame(&String::from_utf8(out.stderr).unwrap());
        assert_tame(&String::from_utf8(out.stdout).unwrap());
    }
}
