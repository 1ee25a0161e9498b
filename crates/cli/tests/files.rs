//! `scumble run` with files of the owner's: pictures and adapters, by path and by URL, also inside other fields.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::{Desk, succeeded};
use scumble_testkit::tiny::{self, Variant};
use serde_json::json;

const FILL: &str = "fal-ai/flux-lora-fill";

/// A desk with tiny weights, a picture and a mask.
fn desk() -> Desk {
    let desk = Desk::new();
    tiny::of(Variant::Fill).write(desk.path("weights"));
    for (name, white) in [("a.png", 0), ("mask.png", 32)] {
        let shade = |x: u32, y: u32| if x < white { [255; 3] } else { [x as u8 * 3, y as u8 * 3, 40] };
        let picture = image::RgbImage::from_fn(64, 48, |x, y| {
            image::Rgb(if white > 0 && x >= white { [0; 3] } else { shade(x, y) })
        });
        picture.save(desk.path(name)).unwrap();
    }
    desk
}

fn run(desk: &Desk, picture: &str) -> Vec<u8> {
    let picture = format!("image_url={picture}");
    let fields = ["-i", &picture, "-i", "mask_url=mask.png", "-i", "num_inference_steps=1", "-i", "prompt=a cat"];
    let weights = ["--weights", "weights", "--seed", "7", "-o", "out.png"];
    succeeded(&desk.scumble(&[&["run", FILL], &fields[..], &weights].concat()));
    std::fs::read(desk.path("out.png")).unwrap()
}

#[test]
fn pictures_are_named_by_path_url_and_data() {
    let desk = desk();
    let by_path = run(&desk, "a.png");
    assert_eq!(by_path, run(&desk, &format!("file://{}", desk.path("a.png").display())));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.png", listener.local_addr().unwrap());
    let bytes = std::fs::read(desk.path("a.png")).unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
        stream.write_all(&[head.as_bytes(), &bytes].concat()).unwrap();
    });
    assert_eq!(by_path, run(&desk, &url));
    serving.join().unwrap();
}

#[test]
fn what_cannot_be_read_is_named_with_its_field() {
    let desk = desk();
    let weights = ["--weights", "weights"];
    let picture = ["run", FILL, "-i", "image_url=none.png", "-i", "mask_url=mask.png"];
    desk.refuses(&[&picture[..], &weights].concat(), 2, &["image_url", "none.png"]);
    desk.write("no.png", "not a picture");
    let picture = ["run", FILL, "-i", "image_url=no.png", "-i", "mask_url=mask.png"];
    desk.refuses(&[&picture[..], &weights].concat(), 2, &["image_url", "not an image"]);
    // a field that the endpoint does not have, and the endpoint that has it
    let loras = format!("loras={}", json!([{ "path": "x.safetensors" }]));
    desk.refuses(
        &["run", "fal-ai/flux/dev", "x", "-i", &loras],
        2,
        &["there is no field loras", "fal-ai/flux-lora has loras"],
    );
    let misspelt = format!("loras={}", json!([{ "path": "x.safetensors", "weight": 1 }]));
    desk.refuses(&["run", "fal-ai/flux-lora", "x", "-i", &misspelt], 2, &["loras.0.weight"]);
}
