//! `scumble bench engine` as a person types it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Desk, succeeded};
use scumble_testkit::tiny::{self, Variant};
use serde_json::{Value, json};

const STAGES: [&str; 6] = ["load", "text_encode", "denoise", "step", "decode", "picture"];

fn measured(desk: &Desk, args: &[&str]) -> Value {
    let out = desk.scumble(&[&["bench", "engine", "--json"], args].concat());
    serde_json::from_str(&succeeded(&out)).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} should be a number"))
}

#[test]
fn the_starters_figures_are_there_and_agree_with_each_other() {
    let report = measured(&Desk::new(), &["--runs", "2", "--steps", "3", "--size", "96x64"]);
    let head = ["endpoint", "device", "dtype", "width", "height", "steps", "images", "runs"].map(|name| &report[name]);
    assert_eq!(json!(head), json!(["scumble/starter", "cpu", null, 96, 64, 3, 1, 2]));
    assert!(report["threads"].as_u64().unwrap() >= 1 && !report["version"].as_str().unwrap().is_empty());
    let rows = report["stages"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["stage"].as_str().unwrap()).collect::<Vec<_>>(), STAGES);
    let peak = number(&report["peak"]["gflops"]);
    assert!(peak > 0.1, "{peak} GFLOP/s");
    for row in rows {
        let (least, median, most) = (number(&row["least"]), number(&row["median"]), number(&row["most"]));
        assert!(0.0 < least && least <= median && median <= most && most < 600.0, "{row}");
        let times = if row["stage"] == "step" { 6 } else { 2 };
        assert_eq!(row["seconds"].as_array().unwrap().len(), times, "{row}");
        let works = !["load", "picture"].contains(&row["stage"].as_str().unwrap());
        assert_eq!(row.get("gflop").is_some(), works, "{row}");
        if works {
            let gflops = number(&row["gflops"]);
            assert!((gflops - number(&row["gflop"]) / median).abs() <= 1e-6 * gflops, "{row}");
            assert!((number(&row["share"]) - gflops / peak).abs() <= 1e-6, "{row}");
        }
    }
    // two passes of a network of a few million numbers; the whole is three steps
    let gflop = |stage: usize| number(&rows[stage]["gflop"]);
    assert!((0.01..10.0).contains(&gflop(3)), "{} GFLOP in a step", gflop(3));
    assert!((gflop(2) - 3.0 * gflop(3)).abs() < 1e-3 * gflop(2));
}

#[test]
#[cfg(target_os = "linux")]
fn memory_is_told_from_start_to_end() {
    let memory = &measured(&Desk::new(), &["--runs", "1", "--steps", "1", "--size", "64x64"])["memory"];
    let bytes = |when: &str, what: &str| memory[when][what].as_u64().unwrap();
    for when in ["before", "loaded", "after"] {
        assert!((1 << 20..1 << 33).contains(&bytes(when, "resident")), "{when}: {memory}");
        assert!(bytes(when, "files") <= bytes(when, "resident"), "{when}: {memory}");
    }
    assert_eq!(memory["peak"].as_u64().unwrap(), bytes("after", "peak"));
    assert!(bytes("after", "peak") >= bytes("loaded", "resident"), "{memory}");
}

#[test]
fn a_table_says_it_to_people() {
    let out = Desk::new().scumble(&["bench", "engine", "--runs", "1", "--steps", "1", "--size", "64x64"]);
    let table = succeeded(&out);
    assert!(table.starts_with("scumble/starter: 64x64, 1 step, the type of the weights, "), "{table}");
    for words in STAGES.into_iter().chain(["of peak", "GFLOP/s here", "memory: "]) {
        assert!(table.contains(words), "{words:?} in:\n{table}");
    }
}

#[test]
fn weights_type_threads_and_fields_are_followed() {
    let desk = Desk::new();
    tiny::of(Variant::Schnell).write(desk.path("weights"));
    let args = [
        "fal-ai/flux/schnell",
        "--weights",
        "weights",
        "--runs",
        "1",
        "--steps",
        "2",
        "--size",
        "64x96",
        "--threads",
        "1",
    ];
    let more = ["--dtype", "bfloat16", "-i", "num_images=2", "-i", "max_sequence_length=16", "-o", "x.png"];
    let report = measured(&desk, &[&args[..], &more].concat());
    assert_eq!((&report["dtype"], &report["threads"]), (&"bfloat16".into(), &1.into()));
    assert_eq!((&report["images"], &report["height"], &report["steps"]), (&2.into(), &96.into(), &2.into()));
    assert_eq!(image::image_dimensions(desk.path("x.png")).unwrap(), (64, 96));
}

#[test]
fn the_picture_is_the_one_that_run_draws() {
    let desk = Desk::new();
    let words = "a red heart on a white background";
    let prompt = format!("prompt={words}");
    measured(&desk, &["--runs", "2", "--steps", "2", "--size", "64x64", "-i", &prompt, "-o", "a.png"]);
    let fields = ["-i", "num_inference_steps=2", "-i", "image_size=64x64"];
    succeeded(&desk.scumble(&[&["run", words, "--seed", "1", "-o", "b.png"], &fields[..]].concat()));
    assert_eq!(std::fs::read(desk.path("a.png")).unwrap(), std::fs::read(desk.path("b.png")).unwrap());
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_to_do() {
    let desk = Desk::new();
    let refused =
        |args: &[&str], code, words: &[&str]| desk.refuses(&[&["bench", "engine"], args].concat(), code, words);
    refused(&["fal-ai/flux/schnel"], 2, &["fal-ai/flux/schnell"]);
    refused(&["fal-ai/flux/schnell"], 3, &["--weights", "models pull"]);
    refused(&["fal-ai/flux/schnell", "--weights", "nowhere"], 3, &["nowhere"]);
    refused(&["fal-ai/flux-pro/v1.1"], 3, &["BFL_API_KEY"]);
    refused(&["fal-ai/flux-lora/image-to-image", "--weights", "nowhere"], 2, &["image_url"]);
    for (size, words) in [("64", "WIDTHxHEIGHT"), ("0x64", "WIDTHxHEIGHT"), ("ax64", "512x384")] {
        refused(&["--size", size], 2, &["--size", words]);
    }
    refused(&["--size", "99999x99999"], 2, &["image_size"]);
    refused(&["--steps", "0"], 2, &["--steps"]);
    refused(&["--steps", "100000"], 2, &["num_inference_steps"]);
    refused(&["--runs", "0"], 2, &["--runs", "1..=1000"]);
    refused(&["--threads", "0"], 2, &["--threads"]);
    refused(&["-i", "stepz=3"], 2, &["stepz"]);
    refused(&["--device", "toaster"], 2, &["toaster", "cpu"]);
    refused(&["-o", "x.txt"], 2, &["x.txt", ".png"]);
    refused(&["-o", "nowhere/x.png"], 4, &["nowhere"]);
}

/// Ctrl-C ends it within a step, whatever is left to do.
#[test]
#[cfg(unix)]
fn an_interrupt_ends_it() {
    use std::io::{BufRead, BufReader};

    let desk = Desk::new();
    let mut command = desk.command(&["bench", "engine", "--runs", "1000", "-o", "x.png"]);
    let mut child = command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    // by then it listens for the signal
    assert!(said.any(|line| line.unwrap().contains("Decoding")));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    said.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!desk.path("x.png").exists());
}
