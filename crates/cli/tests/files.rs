//! `scumble run` with files of the owner's: pictures and adapters, by path and by URL, also inside other fields.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::{Desk, succeeded};
use scumble_testkit::tiny::{self, Variant, adapters, loras};
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

/// The examples of docs/MODELS.md: what is typed runs as it stands there, in small, and what is sent is accepted.
#[test]
fn the_examples_of_the_document_work() {
    let desk = Desk::new();
    let folder = |name: &str| {
        std::fs::create_dir_all(desk.path(name)).unwrap();
        desk.path(name)
    };
    tiny::of(Variant::Sd35).write(desk.path("models/stable-diffusion-3.5-large"));
    tiny::of(Variant::OmniGen2).write(desk.path("models/OmniGen2"));
    loras::sets(Variant::Sd35).remove(0).files["kohya"].write(&folder("adapters").join("watercolour.safetensors"), 1.0);
    adapters::write_controlnet(&folder("adapters/canny"));
    adapters::write_ip_adapter(&folder("adapters/ip-adapter"));
    adapters::write_image_encoder(&folder("adapters/siglip"));
    for name in ["edges.png", "style.png", "dog.jpg", "garden.png"] {
        image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8 * 3, y as u8 * 3, 40]))
            .save(desk.path(name))
            .unwrap();
    }
    let document = include_str!("../../../docs/MODELS.md");
    let blocks: Vec<&str> = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let mut pictures = Vec::new();
    for block in blocks.iter().filter(|block| block.starts_with("scumble run")) {
        let here = format!("{}/", desk.path("").display().to_string().trim_end_matches('/'));
        // as few as the endpoint takes
        let steps = if block.contains("omnigen") { 20 } else { 1 };
        let small = format!("-i num_inference_steps={steps} -i image_size=64x64 --seed 7");
        let typed =
            block.replace("/models/", &format!("{here}models/")).replace("/adapters/", &format!("{here}adapters/"));
        let typed = format!("{} {small}\n", typed.trim_end()).replacen("scumble", env!("CARGO_BIN_EXE_scumble"), 1);
        let out = std::process::Command::new("sh").args(["-euc", &typed]).current_dir(&here).output().unwrap();
        let path = succeeded(&out);
        pictures.push(std::fs::read(desk.path(path.trim())).unwrap());
    }
    let count = pictures.len();
    pictures.sort();
    pictures.dedup();
    assert!(count == 4 && pictures.len() == 4, "each of the adapters counts: {count}");
    let mut sent = 0;
    for block in blocks.iter().filter(|block| block.starts_with("curl")) {
        let (_, rest) = block.split_once("/run/").unwrap();
        let (id, body) = rest.split_once(" -d '").unwrap();
        let body: serde_json::Value = serde_json::from_str(body.rsplit_once('\'').unwrap().0).unwrap();
        let input = scumble_api::find(id).unwrap().parse(&body, scumble_api::Scope::Wire).unwrap();
        assert_eq!(input.notes(), Vec::<String>::new(), "{id}");
        sent += 1;
    }
    assert_eq!(sent, 3);
}
