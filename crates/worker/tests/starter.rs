//! The starter that travels in the binary draws what it is asked for. `evaluate-starter` measures how often; this
//! keeps anybody from shipping weights, or an engine, that do not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use scumble_api::{Scope, find};
use scumble_engine::checkpoint::Precision;
use scumble_engine::{Device, Pixels, Stage};
use scumble_testkit::picture;
use scumble_testkit::prompts::held_out;
use scumble_worker::runner::{Local, Model, Request, Watch};

struct Quiet;

impl Watch for Quiet {
    fn stage(&self, _: Stage) {}
    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
    fn log(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

fn starter() -> Local {
    let source = scumble_worker::source(find("scumble/starter").unwrap(), None).unwrap();
    Local::new(Model { source, precision: Precision { device: Device::Cpu, dtype: None } })
}

fn draw(local: &Local, body: &serde_json::Value) -> image::RgbImage {
    let endpoint = find("scumble/starter").unwrap();
    let input = endpoint.parse(body, Scope::Wire).unwrap().text_to_image();
    let seed = input.seed.unwrap();
    let drawn = local.draw(&Request { endpoint, input, seed }, &Quiet, None).unwrap();
    image::load_from_memory(&drawn.pictures[0].bytes).unwrap().to_rgb8()
}

#[test]
fn unseen_prompts_become_what_they_say() {
    let local = starter();
    let prompts = held_out(20);
    let right = prompts.iter().enumerate().filter(|(seed, prompt)| {
        let image = draw(&local, &serde_json::json!({ "prompt": prompt.text, "seed": seed }));
        prompt.judge(&picture::read(image.width() as usize, image.height() as usize, image.as_raw())).right
    });
    let right = right.count();
    assert!(right >= 17, "{right} of 20");
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
