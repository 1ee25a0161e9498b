//! The starter that travels in the binary draws what it is asked for. `evaluate-starter` measures how often; this
//! keeps anybody from shipping weights, or an engine, that do not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use scumble_api::{Scope, find};
use scumble_engine::Device;
use scumble_engine::weights::Precision;
use scumble_testkit::picture;
use scumble_testkit::prompts::{Verdict, held_out};
use scumble_testkit::runner::Quiet;
use scumble_worker::runner::{Local, Model, Request};

fn starter() -> Local {
    let source = scumble_worker::source(find("scumble/starter").unwrap(), None).unwrap();
    Local::new(Model { source, precision: Precision { device: Device::Cpu, dtype: None } })
}

fn draw(local: &Local, body: &serde_json::Value) -> image::RgbImage {
    let endpoint = find("scumble/starter").unwrap();
    let input = endpoint.parse(body, Scope::Wire).unwrap();
    let seed = input.request().seed.unwrap();
    let drawn = local.draw(&Request::new(&input, Vec::new(), seed, 1), &Quiet, None).unwrap();
    image::load_from_memory(&drawn.pictures[0].bytes).unwrap().to_rgb8()
}

/// Twenty unseen prompts. The bounds lie well below what the committed weights reach on 240 (starter/README.md), so
/// that only broken weights or a broken engine fall under them.
#[test]
fn unseen_prompts_become_what_they_say() {
    let local = starter();
    let verdicts: Vec<Verdict> = held_out(20)
        .iter()
        .enumerate()
        .map(|(seed, prompt)| {
            let image = draw(&local, &serde_json::json!({ "prompt": prompt.text, "seed": seed }));
            prompt.judge(&picture::read(image.width() as usize, image.height() as usize, image.as_raw()))
        })
        .collect();
    let count = |holds: fn(&Verdict) -> bool| verdicts.iter().filter(|v| holds(v)).count();
    let (background, number, color) = (count(|v| v.background), count(|v| v.count), count(|v| v.color));
    assert!(background >= 19 && number >= 19 && color >= 19, "{background}, {number}, {color} of 20: {verdicts:?}");
    assert!(count(|v| v.shape) >= 17, "{verdicts:?}");
}

#[test]
fn other_sizes_are_tolerated() {
    let local = starter();
    for (width, height, expected) in [(512, 512, (512, 512)), (384, 256, (384, 256)), (300, 200, (288, 192))] {
        let size = serde_json::json!({ "width": width, "height": height });
        let image = draw(
            &local,
            &serde_json::json!({ "prompt": "a blue circle on a white background", "seed": 1, "image_size": size }),
        );
        assert_eq!(image.dimensions(), expected);
        let seen = picture::read(image.width() as usize, image.height() as usize, image.as_raw());
        assert_eq!(seen.background, "white", "{width}×{height}");
        assert!(seen.objects.iter().any(|o| o.color == "blue"), "{width}×{height}: {seen:?}");
    }
}
