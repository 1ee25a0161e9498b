//! How often does the starter draw what it was asked for?
//!
//! `cargo run --release -p scumble-worker --example evaluate-starter -- [COUNT] [LEAST SHARE] [STEPS] [GUIDANCE]`
//!
//! Draws COUNT prompts (240) that training never saw, reads the pictures back, and fails below LEAST SHARE (0.95).
//! With `SHEET=file.png` in the environment it also writes the wrong ones side by side, for people.

#![allow(clippy::print_stdout, reason = "a report")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use scumble_api::{Scope, find};
use scumble_testkit::picture;
use scumble_testkit::prompts::{Prompt, Verdict, held_out};
use scumble_testkit::runner::Quiet;
use scumble_worker::runner::{Local, Model, Request};
use scumble_worker::{ModelConfig, source};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let count: usize = args.next().map_or(Ok(240), |a| a.parse())?;
    let least: f64 = args.next().map_or(Ok(0.95), |a| a.parse())?;
    let overrides: Vec<Option<f64>> =
        (0..2).map(|_| args.next().map(|a| a.parse()).transpose()).collect::<Result<_, _>>()?;
    let endpoint = find("scumble/starter").ok_or("no starter")?;
    let own = ModelConfig { weights: std::env::var_os("WEIGHTS").map(Into::into), ..ModelConfig::default() };
    let weights = source(endpoint, &own).ok_or("no weights")?;
    let local = Local::new(Model {
        source: weights,
        precision: scumble_engine::weights::Precision { device: scumble_engine::Device::Cpu, dtype: None },
    });
    let (mut tally, mut wrong, began) = (BTreeMap::<&str, usize>::new(), Vec::new(), Instant::now());
    for (seed, prompt) in held_out(count).into_iter().enumerate() {
        let mut body = serde_json::json!({ "prompt": prompt.text, "seed": seed });
        for (name, value) in ["num_inference_steps", "guidance_scale"].iter().zip(&overrides) {
            if let Some(value) = value {
                body[*name] = (*value).into();
            }
        }
        let input = endpoint.parse(&body, Scope::Local).map_err(|p| format!("{p:?}"))?;
        let drawn = local.draw(&Request::new(&input, Vec::new(), seed as u64, 1), &Quiet, None)?;
        let image = image::load_from_memory(&drawn.pictures[0].bytes)?.to_rgb8();
        let seen = picture::read(image.width() as usize, image.height() as usize, image.as_raw());
        let verdict = prompt.judge(&seen);
        count_up(&mut tally, &prompt, verdict);
        if !verdict.right {
            println!("wrong: {} -> {} {:?}", prompt.text, seen.background, brief(&seen));
            wrong.push(image);
        }
    }
    report(&tally, count, began.elapsed().as_secs_f64());
    write_sheet(&wrong)?;
    let share = tally["right"] as f64 / count as f64;
    Ok(if share >= least { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn brief(seen: &picture::Seen) -> Vec<String> {
    seen.objects.iter().map(|o| format!("{} {} ({:.2})", o.color, o.shape, o.fit)).collect()
}

fn count_up(tally: &mut BTreeMap<&str, usize>, prompt: &Prompt, verdict: Verdict) {
    let Verdict { count, color, shape, background, right, place } = verdict;
    let all = [
        ("count", count),
        ("color", color),
        ("shape", shape),
        ("background", background),
        ("right", right),
        ("placed", prompt.place.is_some()),
        ("place", prompt.place.is_some() && place),
    ];
    for (name, yes) in all {
        *tally.entry(name).or_default() += usize::from(yes);
    }
}

fn report(tally: &BTreeMap<&str, usize>, count: usize, seconds: f64) {
    let percent = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    for name in ["background", "count", "color", "shape"] {
        println!("{name:10} {:5.1} %", percent(tally[name], count));
    }
    println!(
        "place      {:5.1} % of the {} prompts that say one",
        percent(tally["place"], tally["placed"]),
        tally["placed"]
    );
    println!(
        "all right  {:5.1} % of {count} unseen prompts, {:.2} s each",
        percent(tally["right"], count),
        seconds / count as f64
    );
}

fn write_sheet(wrong: &[image::RgbImage]) -> Result<(), image::ImageError> {
    let Some(path) = std::env::var_os("SHEET").filter(|_| !wrong.is_empty()) else { return Ok(()) };
    let (columns, side) = (8, 256);
    let rows = wrong.len().div_ceil(columns) as u32;
    let mut sheet = image::RgbImage::new(columns as u32 * side, rows * side);
    for (i, picture) in wrong.iter().enumerate() {
        let (x, y) = ((i % columns) as u32 * side, (i / columns) as u32 * side);
        image::imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    sheet.save(path)
}
