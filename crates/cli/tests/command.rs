//! The binary as a person types it: what it prints, what it leaves, how it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

#[cfg(unix)]
use std::collections::BTreeMap;
#[cfg(unix)]
use std::io::Write;
use std::path::Path;
#[cfg(unix)]
use std::process::Command;
use std::time::Duration;

use common::{Desk, plain, star, succeeded};
use scumble_engine::DType;
use scumble_engine::families::flux;
use scumble_testkit::tiny::files::{self, Format};
use scumble_testkit::tiny::{self, Variant};
use serde_json::Value;
#[cfg(unix)]
use serde_json::json;

const STARS: &str = "two small yellow stars on a purple background";

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_another_picture() {
    let desk = Desk::new();
    for (seed, name) in [("7", "a.png"), ("7", "b.png"), ("8", "c.png")] {
        assert_eq!(succeeded(&desk.scumble(&["run", STARS, "--seed", seed, "-o", name])), format!("{name}\n"));
    }
    let read = |name: &str| std::fs::read(desk.path(name)).unwrap();
    assert_eq!(read("a.png"), read("b.png"));
    assert_ne!(read("a.png"), read("c.png"));
}

#[test]
fn names_formats_and_several_images() {
    let desk = Desk::new();
    let quick = ["-i", "num_inference_steps=1", "--seed", "3"];
    let run = |args: &[&str]| succeeded(&desk.scumble(&[&["run"], args, &quick].concat()));
    assert_eq!(run(&["A red star!"]), "a-red-star-3.png\n");
    assert_eq!(run(&["x", "-o", "p.jpeg", "-i", "num_images=2"]), "p-1.jpeg\np-2.jpeg\n");
    assert_eq!(image::ImageFormat::from_path(desk.path("p-1.jpeg")).unwrap(), image::ImageFormat::Jpeg);
    let picture = image::open(desk.path("p-2.jpeg")).unwrap();
    assert_eq!((picture.width(), picture.height()), (256, 256));
}

#[test]
fn json_prints_the_endpoints_output() {
    let desk = Desk::new();
    std::fs::write(desk.path("in.json"), r#"{"prompt": "from the file", "num_inference_steps": 1, "seed": 1}"#)
        .unwrap();
    let size = r#"image_size={"width":128,"height":64}"#;
    let out = desk.scumble(&["run", "--input", "in.json", "-i", size, "--seed", "9", "--json", "-o", "x.png"]);
    let output: serde_json::Value = serde_json::from_str(&succeeded(&out)).unwrap();
    assert_eq!((&output["prompt"], &output["seed"]), (&"from the file".into(), &9.into()));
    assert_eq!((&output["images"][0]["width"], &output["images"][0]["height"]), (&128.into(), &64.into()));
    assert!(output["images"][0]["url"].as_str().unwrap().starts_with("file:///"));
    assert!(output["timings"]["denoise"].as_f64().unwrap() > 0.0);
}

#[test]
fn tiny_checkpoints_run_and_can_be_traced() {
    for (variant, endpoint) in [
        (Variant::Dev, "fal-ai/flux/dev"),
        (Variant::AuraFlow, "fal-ai/aura-flow"),
        (Variant::FLite, "fal-ai/f-lite/texture"),
        (Variant::OmniGen2, "fal-ai/omnigen-v2"),
        (Variant::Sd35, "fal-ai/stable-diffusion-v35-large"),
    ] {
        let desk = Desk::new();
        tiny::of(variant).write(desk.path("weights"));
        let size = r#"image_size={"width":96,"height":64}"#;
        let fields = ["-i", size, "-i", "num_inference_steps=20", "-i", "max_sequence_length=48"];
        let args = [&["run", endpoint, "a cat", "--weights", "weights", "--trace", "t.safetensors"], &fields[..]];
        succeeded(&desk.scumble(&args.concat()));
        let bytes = std::fs::read(desk.path("t.safetensors")).unwrap();
        let header = String::from_utf8_lossy(&bytes[8..8 + usize::from(bytes[0]) + 256 * usize::from(bytes[1])]);
        for name in
            ["noise.first_draw", "schedule.sigmas", "step0.transformer.out", "step1.latents", "image.uint8_nhwc"]
        {
            assert!(header.contains(name), "{endpoint}: {name}");
        }
    }
}

#[test]
fn words_that_the_starter_does_not_know_are_a_warning() {
    let desk = Desk::new();
    let drawn = desk.scumble(&["run", "a photo of a cat", "-o", "cat.png", "--seed", "1"]);
    let said = String::from_utf8_lossy(&drawn.stderr);
    assert!(drawn.status.success() && said.contains("warning: the starter does not know: photo, cat."), "{said}");
    assert!(said.contains("Shapes: circle"), "{said}");
    let known = desk.scumble(&["run", "a red circle", "-o", "circle.png", "--seed", "1"]);
    assert!(!String::from_utf8_lossy(&known.stderr).contains("warning"), "{known:?}");
}

#[test]
fn wrong_input_is_code_2() {
    let desk = Desk::new();
    desk.refuses(&["run"], 2, &["the prompt is missing: scumble run \"", "scumble run --help"]);
    desk.refuses(&["run", "fal-ai/flux/dev"], 2, &["the prompt is missing: scumble run fal-ai/flux/dev \""]);
    desk.refuses(&["run", "x", "-i", "image_size=huge"], 2, &["square_hd", r#"{"width": 1024, "height": 768}"#]);
    desk.refuses(&["run", "nobody/nothing", "x"], 2, &["nobody/nothing", "scumble models list"]);
    desk.refuses(&["run", "cat/dog"], 2, &["cat/dog", "scumble run scumble/starter \"cat/dog\""]);
    desk.refuses(&["run", "two", "stars"], 2, &["quotes"]);
    desk.refuses(&["run", "x", "-i", "num_inference_steps=0"], 2, &["num_inference_steps", "1"]);
    desk.refuses(&["run", "x", "-i", r#"image_size={"width":7,"height":7}"#], 2, &["image_size.width", "64"]);
    desk.refuses(&["run", "x", "-o", "x.gif"], 2, &["x.gif", ".png"]);
    desk.refuses(&["run", "x", "--device", "tpu"], 2, &["tpu", "cpu"]);
    for device in ["cuda:0", "metal"].into_iter().filter(|name| !scumble_engine::devices().contains(name)) {
        desk.refuses(&["run", "x", "--device", device], 2, &[device, "not in this build", "cpu"]);
        let help = succeeded(&desk.scumble(&["run", "--help"]));
        assert!(!help.contains(device), "{help}");
    }
    desk.refuses(&["serve", "--listen", "0.0.0.0:0"], 2, &["keys create", "--open"]);
    std::fs::write(desk.path("scumble.toml"), "[worker]\nconcurency = 2\n").unwrap();
    desk.refuses(&["serve", "--config", "scumble.toml"], 2, &["concurency", "concurrency"]);
}

#[test]
fn weights_that_cannot_be_used_are_code_3() {
    let desk = Desk::new();
    desk.refuses(&["run", "fal-ai/flux/schnell", "x"], 3, &["no weights", "--weights"]);
    let run = |folder: &str, words: &[&str]| {
        desk.refuses(&["run", "fal-ai/flux/schnell", "x", "--weights", folder], 3, words);
    };
    run("nowhere", &["nowhere", "no such file or folder"]);
    std::fs::write(desk.path("file"), "no weights").unwrap();
    run("file", &["file", "safetensors"]);
    std::fs::create_dir(desk.path("empty")).unwrap();
    run("empty", &["model_index.json"]);
    tiny::of(Variant::Schnell).write(desk.path("cut"));
    cut_short(&desk.path("cut/transformer/diffusion_pytorch_model.safetensors"));
    run("cut", &["transformer/diffusion_pytorch_model.safetensors", "damaged"]);
}

#[test]
fn a_file_of_weights_draws_what_its_folder_draws() {
    let desk = Desk::new();
    tiny::of(Variant::Schnell).write(desk.path("folder"));
    let component = |name: &str| files::load(&desk.path("folder"), name);
    let transformer = files::Component::published(&component("transformer"), &flux::NAMES);
    let written = |name: &str, component| files::write_file(&desk.path(name), Format::Plain(DType::F32), &[component]);
    written("flux.safetensors", transformer);
    written("ae.safetensors", files::Component::autoencoder(&component("vae")));
    let run = |args: &[&str]| {
        let input = ["-i", "image_size=64x64", "-i", "num_inference_steps=1", "--seed", "5", "-o", "x.png"];
        succeeded(&desk.scumble(&[&["run", "fal-ai/flux/schnell", "x"], args, &input].concat()));
        std::fs::read(desk.path("x.png")).unwrap()
    };
    let whole = run(&["--weights", "folder"]);
    let parts = ["--weights-base", "folder", "--component", "vae=ae.safetensors"];
    assert_eq!(run(&[&["--weights", "flux.safetensors"][..], &parts].concat()), whole);
    assert_eq!(run(&["--weights", "folder", "--component", "transformer=flux.safetensors"]), whole);
    let refuses = |code, args: &[&str], words: &[&str]| {
        desk.refuses(&[&["run", "fal-ai/flux/schnell", "x"], args].concat(), code, words);
    };
    // whose heads are smaller than published ones
    refuses(3, &["--weights", "flux.safetensors"], &["flux.safetensors", "axes_dims_rope"]);
    refuses(
        3,
        &["--weights", "folder", "--component", "vae=flux.safetensors"],
        &["flux.safetensors", "an autoencoder"],
    );
    refuses(2, &["--component", "vae=ae.safetensors"], &["--weights"]);
    refuses(2, &["--weights", "folder", "--component", "vea=ae.safetensors"], &["vea", "text_encoder_4"]);
    cut_short(&desk.path("ae.safetensors"));
    refuses(3, &["--weights", "folder", "--component", "vae=ae.safetensors"], &["ae.safetensors", "damaged"]);
}

#[test]
fn a_transformer_is_written_in_blocks_and_drawn_with() {
    let desk = Desk::new();
    tiny::of(Variant::Schnell).write(desk.path("folder"));
    let run = |args: &[&str]| {
        let input = ["-i", "image_size=64x64", "-i", "num_inference_steps=1", "--seed", "5", "-o", "x.png"];
        succeeded(&desk.scumble(&[&["run", "fal-ai/flux/schnell", "x"], args, &input].concat()));
        image::open(desk.path("x.png")).unwrap().into_rgb8().into_raw()
    };
    let quantize = ["models", "quantize", "fal-ai/flux/schnell"];
    let whole = run(&["--weights", "folder"]);
    let mut sizes = Vec::new();
    for to in ["q8_0", "q4_k"] {
        let file = format!("{to}.gguf");
        let out = desk.scumble(&[&quantize[..], &["--to", to, "--weights", "folder", "-o", &file]].concat());
        assert_eq!(succeeded(&out), format!("{file}\n"));
        assert!(String::from_utf8_lossy(&out.stderr).contains("--weights-base"), "{out:?}");
        let drawn = run(&["--weights", &file, "--weights-base", "folder"]);
        assert_eq!(run(&["--weights", "folder", "--component", &format!("transformer={file}")]), drawn);
        let off: u32 = drawn.iter().zip(&whole).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        assert!(off > 0 && off < 12 * whole.len() as u32, "{to}: {off}");
        sizes.push(std::fs::metadata(desk.path(&file)).unwrap().len());
    }
    assert!(sizes[1] < sizes[0], "{sizes:?}");
    let refuses = |code, args: &[&str], words: &[&str]| {
        desk.refuses(&[&quantize[..], &["--to", "q8_0"], args].concat(), code, words);
    };
    refuses(4, &["--weights", "folder", "-o", "q8_0.gguf"], &["q8_0.gguf", "there already"]);
    refuses(2, &["--weights", "folder", "-o", "x.safetensors"], &["x.safetensors", ".gguf"]);
    refuses(3, &["-o", "y.gguf"], &["no weights", "scumble models pull fal-ai/flux/schnell"]);
    refuses(3, &["--weights", "nowhere", "-o", "y.gguf"], &["nowhere", "no such file or folder"]);
    refuses(4, &["--weights", "folder", "-o", "nowhere/y.gguf"], &["nowhere/y.gguf"]);
    refuses(2, &["--weights", "folder"], &["--output"]);
    // where nobody can write
    #[cfg(target_os = "linux")]
    refuses(4, &["--weights", "folder", "-o", "/proc/y.gguf"], &["cannot write /proc/y.gguf"]);
    tiny::of(Variant::AuraFlow).write(desk.path("other"));
    refuses(3, &["--weights", "other", "-o", "y.gguf"], &["AuraFlowPipeline", "needs FluxPipeline"]);
    cut_short(&desk.path("other/transformer/diffusion_pytorch_model.safetensors"));
    let of = |id: &str, to: &str| {
        ["models", "quantize", id, "--to", to, "--weights", "other", "-o", "y.gguf"].map(str::to_owned)
    };
    for (id, to, code, word) in [
        ("fal-ai/aura-flow", "q4_k", 3, "damaged"),
        ("fal-ai/aura-flo", "q4_k", 2, "fal-ai/aura-flow"),
        ("fal-ai/aura-flow", "q2_k", 2, "q4_k"),
        ("fal-ai/ideogram/v2", "q4_k", 2, "closed model"),
    ] {
        let args = of(id, to);
        desk.refuses(&args.iter().map(String::as_str).collect::<Vec<_>>(), code, &[word]);
    }
    let left: Vec<_> = std::fs::read_dir(desk.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part") || name == "y.gguf"), "{left:?}");
}

/// FLUX.1 [schnell] of a quarter of its width, a gigabyte of nothing that takes no room on the disk.
#[cfg(unix)]
fn wide_transformer(path: &Path) {
    let listing = "/../engine/tests/tensors/flux1-schnell__transformer.json.gz";
    let listing = std::fs::File::open(format!("{}{listing}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let shapes: BTreeMap<String, Vec<u64>> = serde_json::from_reader(flate2::read::GzDecoder::new(listing)).unwrap();
    let mut end = 0;
    let mut entry = |shape: Vec<u64>| {
        let narrow = |side: u64| if side.is_multiple_of(3072) { side / 4 } else { side };
        let (shape, start): (Vec<u64>, u64) = (shape.into_iter().map(narrow).collect(), end);
        end += 2 * shape.iter().product::<u64>();
        json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] })
    };
    let header: serde_json::Map<_, _> = shapes.into_iter().map(|(name, shape)| (name, entry(shape))).collect();
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&[&(header.len() as u64).to_le_bytes()[..], &header].concat()).unwrap();
    file.set_len(8 + header.len() as u64 + end).unwrap();
}

/// A program that is told to stop takes what it has written with it.
#[cfg(unix)]
#[test]
fn who_stops_a_quantize_finds_nothing_left() {
    let desk = Desk::new();
    wide_transformer(&desk.path("wide.safetensors"));
    let args = ["models", "quantize", "fal-ai/flux/schnell", "--to", "q8_0", "--weights", "wide.safetensors"];
    for signal in ["-TERM", "-INT"] {
        let mut child = desk.command(&[&args[..], &["-o", "wide.gguf"]].concat()).spawn().unwrap();
        let parts = || {
            let names = std::fs::read_dir(desk.path("")).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().ends_with(".part")).count()
        };
        while parts() == 0 {
            assert_eq!(child.try_wait().unwrap(), None, "it has ended before it was told to");
            std::thread::yield_now();
        }
        let told = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
        assert!(parts() == 0 && !desk.path("wide.gguf").exists(), "{signal}");
    }
}

#[test]
fn what_was_meant_is_suggested() {
    let desk = Desk::new();
    for (args, meant) in [
        (&["run", "fal-ai/flux/schnel", "x"][..], "fal-ai/flux/schnell"),
        (&["run", "scumble/startr", "x"], "scumble/starter"),
        (&["run", "startr", "x"], "scumble/starter"),
        (&["models", "show", "fal-ai/aura-flw"], "fal-ai/aura-flow"),
        (&["serve", "--weights", "flux/schnell=x"], "fal-ai/flux/schnell"),
        (&["serv"], "serve"),
        (&["serve", "--lissten", "1"], "--listen"),
        (&["run", "x", "-i", "num_inference_step=1"], "num_inference_steps"),
        (&["run", "x", "-i", "steps=1"], "num_inference_steps"),
        (&["run", "x", "-i", "width=64"], "image_size"),
        (&["two red stars"], "scumble run \"two red stars\""),
    ] {
        desk.refuses(args, 2, &[meant]);
    }
    desk.write("scumble.toml", "[models.\"fal-ai/flux/def\"]\nweights = \"x\"\n");
    desk.refuses(&["serve", "--config", "scumble.toml"], 2, &["fal-ai/flux/def", "did you mean fal-ai/flux/dev?"]);
    succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"]));
    let said = succeeded(&desk.scumble(&["jobs", "list", "--endpoint", "fal-ai/flux/def", "--data-dir", "data"]));
    assert_eq!(said, "");
}

#[test]
fn an_unknown_field_is_a_mistake_on_the_command_line() {
    let desk = Desk::new();
    desk.write("in.json", r#"{"prompt": "x", "promt": "y"}"#);
    desk.refuses(&["run", "--input", "in.json"], 2, &["promt", "did you mean prompt?", "models show scumble/starter"]);
    desk.refuses(&["run", "x", "-i", "a=1", "-i", "b=2"], 2, &["no field a", "no field b"]);
    // known everywhere here, though not on the starter's page
    let args = ["run", "x", "-i", "max_sequence_length=8", "-i", "num_inference_steps=1", "-o", "x.png"];
    assert_eq!(succeeded(&desk.scumble(&args)), "x.png\n");
    // a size as people write it
    let args = ["run", "x", "-i", "image_size=96x64", "-i", "num_inference_steps=1", "-o", "x.png"];
    succeeded(&desk.scumble(&args));
    let picture = image::open(desk.path("x.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (96, 64));
}

#[test]
fn a_seed_is_explained() {
    let desk = Desk::new();
    for bad in ["abc", "1.5", "-2"] {
        desk.refuses(&["run", "x", "--seed", bad], 2, &[bad, "whole number from 0 to 18446744073709551615", "-1"]);
    }
    let json = |seed: &str| -> serde_json::Value {
        let args = ["run", "x", "--seed", seed, "-i", "num_inference_steps=1", "--json", "-o", "x.png"];
        serde_json::from_str(&succeeded(&desk.scumble(&args))).unwrap()
    };
    assert_eq!(json("18446744073709551615")["seed"], u64::MAX);
    assert_ne!(json("-1")["seed"], json("-1")["seed"], "another each time");
}

fn cut_short(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn folders_that_cannot_be_used_are_code_4() {
    let desk = Desk::new();
    desk.refuses(&["run", "x", "-o", "no/such/folder/x.png"], 4, &["no/such/folder"]);
    std::fs::write(desk.path("file"), "not a folder").unwrap();
    desk.refuses(&["serve", "--data-dir", "file"], 4, &["file"]);
    std::fs::create_dir(desk.path("data")).unwrap();
    std::fs::write(desk.path("data/scumble.db"), "this is no database, and long enough to be mistaken for one")
        .unwrap();
    desk.refuses(&["serve", "--data-dir", "data"], 4, &["database"]);
}

/// Beside the call, so that it may come a moment later.
#[tokio::test]
async fn a_list_of_keys_says_when_each_was_last_used() {
    let desk = Desk::new();
    let key =
        succeeded(&desk.scumble(&["keys", "create", "--label", "laptop", "--data-dir", "data"])).trim().to_owned();
    succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"]));
    let list = |args: &[&str]| succeeded(&desk.scumble(&[&["keys", "list", "--data-dir", "data"], args].concat()));
    assert_eq!(list(&[]).matches("  never used  valid").count(), 2);
    let server = desk.serve(&["--stand-in=0"]);
    let call = plain().post(server.url("/run/fal-ai/flux/dev")).header("authorization", format!("Key {key}"));
    assert_eq!(call.json(&star()).send().await.unwrap().status(), 200);
    let used = async {
        loop {
            let keys: Value = serde_json::from_str(&list(&["--json"])).unwrap();
            if keys[0]["last_used"].is_string() {
                return keys;
            }
            tokio::task::yield_now().await;
        }
    };
    let keys = tokio::time::timeout(Duration::from_secs(60), used).await.unwrap();
    assert_eq!((&keys[0]["label"], &keys[1]["last_used"], keys[2].is_null()), (&"laptop".into(), &Value::Null, true));
    assert!(keys[0]["last_used"].as_str() >= keys[0]["created"].as_str() && keys[0]["revoked"].is_null(), "{keys}");
    let text = list(&[]);
    let at = keys[0]["last_used"].as_str().unwrap();
    assert!(text.lines().next().unwrap().contains(&format!("  used {at}  valid  laptop")), "{text}");
}

#[test]
fn keys_are_made_listed_and_revoked_with_the_server_down() {
    let desk = Desk::new();
    let keys = |args: &[&str]| desk.scumble(&[&["keys"], args, &["--data-dir", "data"]].concat());
    let said = |out: &std::process::Output| String::from_utf8_lossy(&out.stderr).into_owned();
    desk.serve(&[]).stop();
    let none = keys(&["list"]);
    assert_eq!(succeeded(&none), "");
    assert!(said(&none).contains("There are no keys; `scumble keys create` makes one"), "{}", said(&none));
    let first = keys(&["create", "--label", "laptop"]);
    assert!(said(&first).contains("From now on, callers of this server need a key."), "{}", said(&first));
    let second = keys(&["create"]);
    assert!(second.status.success() && !said(&second).contains("From now on"), "{}", said(&second));
    let key = succeeded(&first);
    assert!(key.trim().len() >= 16 && key.split_whitespace().count() == 1, "{key}");
    let id = key.split(':').next().unwrap();
    let list = succeeded(&keys(&["list"]));
    assert!(list.contains(id) && list.contains("laptop") && list.contains("valid"), "{list}");
    assert!(!list.contains(key.trim()), "the secret is shown once");
    succeeded(&keys(&["revoke", id]));
    assert!(succeeded(&keys(&["list"])).contains("revoked"));
    assert_eq!(keys(&["revoke", id]).status.code(), Some(2));
    for published in ["Published: 1; removed: 0", "Published: 2; removed: 0"] {
        let rotated = keys(&["rotate-webhooks"]);
        assert!(rotated.status.success() && rotated.stdout.is_empty());
        assert!(String::from_utf8_lossy(&rotated.stderr).contains(published), "{rotated:?}");
    }
    let database = std::fs::read(desk.path("data/scumble.db")).unwrap();
    let secret = key.trim().split(':').nth(1).unwrap().as_bytes();
    assert!(!database.windows(secret.len()).any(|w| w == secret), "only a hash is stored");
}

#[test]
fn models_are_listed_and_shown_with_their_fields() {
    let desk = Desk::new();
    let list = succeeded(&desk.scumble(&["models", "list"]));
    let line = |list: &str, id: &str| {
        let starts = |line: &&str| line.split_whitespace().next() == Some(id);
        list.lines().find(starts).unwrap_or_else(|| panic!("{id}: {list}")).to_owned()
    };
    for (id, standing) in [
        ("scumble/starter", "Runs here"),
        ("fal-ai/flux/schnell", "Needs weights: scumble models pull fal-ai/flux/schnell"),
        ("fal-ai/ideogram/v3", "Needs a key: IDEOGRAM_API_KEY"),
        ("fal-ai/flux-pro/v1.1", "Needs a key: BFL_API_KEY"),
        ("fal-ai/aura-flow", "Needs weights: scumble models pull fal-ai/aura-flow"),
        ("fal-ai/omnigen-v2", "Needs weights: scumble models pull fal-ai/omnigen-v2"),
    ] {
        assert!(line(&list, id).ends_with(standing), "{list}");
    }
    let cards = succeeded(&desk.scumble(&["models", "list", "--stand-in"]));
    assert!(line(&cards, "fal-ai/omnigen-v2").ends_with("Stand-in"), "{cards}");
    let page = succeeded(&desk.scumble(&["models", "show", "fal-ai/omnigen-v2"]));
    assert!(page.contains("fal-ai/omnigen-v2 has no weights here"), "{page}");
    let page = succeeded(&desk.scumble(&["models", "show", "fal-ai/hidream-i1-full"]));
    assert!(page.contains("num_inference_steps") && page.contains("LoraWeight:") && page.contains("weight_name"));
    let help = succeeded(&desk.scumble(&["run", "fal-ai/aura-flow", "--help"]));
    assert!(help.contains("expand_prompt") && help.contains("--weights"), "{help}");
    let plain = succeeded(&desk.scumble(&["run", "--help"]));
    assert!(!plain.contains("expand_prompt"));
    let list: serde_json::Value =
        serde_json::from_str(&succeeded(&desk.scumble(&["models", "list", "--json"]))).unwrap();
    let of = |list: &serde_json::Value, id: &str| {
        let all = list.as_array().unwrap().iter();
        let found = all.filter(|entry| entry["id"] == id).map(|entry| entry["status"].as_str().unwrap().to_owned());
        found.collect::<Vec<_>>().join(" ")
    };
    for (id, status) in [
        ("scumble/starter", "here"),
        ("fal-ai/flux/dev", "needs-weights"),
        ("fal-ai/aura-flow", "needs-weights"),
        ("fal-ai/omnigen-v2", "needs-weights"),
        ("fal-ai/recraft/v2/text-to-image", "needs-key"),
    ] {
        assert_eq!(of(&list, id), status, "{id}");
    }
    tiny::of(Variant::Dev).write(desk.path("dev"));
    desk.write("scumble.toml", "[models.\"fal-ai/flux/dev\"]\nweights = \"dev\"\n");
    let mut command = desk.command(&["models", "list", "--json", "--weights", "fal-ai/flux/schnell=nowhere"]);
    command.env("SCUMBLE_CONFIG", "scumble.toml").env("RECRAFT_API_KEY", "k");
    let list = serde_json::from_str(&succeeded(&command.output().unwrap())).unwrap();
    for (id, status) in [
        ("fal-ai/flux/dev", "here"),
        ("fal-ai/flux/schnell", "needs-weights"),
        ("fal-ai/recraft/v2/text-to-image", "maker"),
    ] {
        assert_eq!(of(&list, id), status, "{id}");
    }
    let page = succeeded(&desk.scumble(&["models", "show", "fal-ai/flux/dev", "--json"]));
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!((&page["id"], &page["status"]), (&"fal-ai/flux/dev".into(), &"needs-weights".into()));
    let steps = page["fields"].as_array().unwrap().iter().find(|field| field["name"] == "num_inference_steps").unwrap();
    assert_eq!((&steps["default"], &steps["maximum"]), (&28.into(), &50.into()));
    let long = succeeded(&desk.scumble(&["models", "show", "scumble/starter"]));
    assert!(long.lines().all(|line| line.chars().count() <= 100), "{long}");
    let unknown = desk.scumble(&["models", "show", "fal-ai/nothing"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("scumble models list"));
}

#[test]
fn shells_can_complete() {
    let desk = Desk::new();
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef scumble"), ("fish", "complete -c scumble")] {
        assert!(succeeded(&desk.scumble(&["completions", shell])).contains(word), "{shell}");
    }
}

#[test]
fn weights_without_an_endpoint_are_refused() {
    let desk = Desk::new();
    tiny::of(Variant::Schnell).write(desk.path("weights"));
    let words = ["--weights needs the endpoint", "scumble run ENDPOINT \"a lighthouse\" --weights PATH"];
    desk.refuses(&["run", "a lighthouse", "--weights", "weights"], 2, &words);
    // with the starter's own they are used
    let named = ["run", "scumble/starter", "a red circle", "--weights", "nowhere"];
    desk.refuses(&named, 3, &["nowhere"]);
    let flags = ["--data-dir", "data", "--listen", "127.0.0.1:0", "--weights", "scumble/starter=nowhere"];
    let doctor = desk.scumble(&[&["doctor"], &flags[..]].concat());
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("FAILS  weights    scumble/starter: nowhere"), "{said}");
    desk.refuses(&[&["serve"], &flags[..]].concat(), 3, &["scumble/starter: nowhere"]);
    let list = succeeded(&desk.scumble(&["models", "list", "--weights", "scumble/starter=nowhere"]));
    let line = list.lines().find(|line| line.trim_start().starts_with("scumble/starter")).unwrap();
    assert!(line.contains("Needs weights"), "{line}");
}

#[test]
fn a_size_that_is_not_drawn_is_told() {
    let desk = Desk::new();
    let run = |size: &str| {
        let size = format!("image_size={size}");
        let out = desk.scumble(&["run", "a red circle", "-i", "num_inference_steps=1", "-i", &size, "-o", "a.png"]);
        succeeded(&out);
        let drawn = image::open(desk.path("a.png")).unwrap();
        (format!("{}x{}", drawn.width(), drawn.height()), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (drawn, said) = run("250×190");
    assert!(drawn == "224x160" && said.contains("224x160 pixels in place of 250x190"), "{drawn} {said}");
    let (drawn, said) = run("1024x512");
    assert!(drawn == "512x256" && said.contains("does not draw 1024x512") && said.contains("512x256"), "{said}");
    let (drawn, said) = run("128x64");
    assert!(drawn == "128x64" && !said.contains("128x64"), "{said}");
}

#[test]
fn values_of_the_wrong_form_are_told_in_the_form_that_is_typed() {
    let desk = Desk::new();
    let large = ["run", "fal-ai/stable-diffusion-v35-large", "a cat", "--weights", "w"];
    let refused = |fields: &[&str], words: &[&str]| desk.refuses(&[&large, fields].concat(), 2, words);
    refused(&["-i", "loras=x"], &[r#"loras: expected a list; type -i loras='[{"path": "x.safetensors"}]'"#]);
    refused(&["-i", "controlnet=x"], &["controlnet: expected an object; type -i controlnet='{"]);
    refused(&["-i", "image_size=huge"], &["image_size: expected a size such as 512x384 or {", "square_hd"]);
    let twice = refused(&["-i", "image_siz=1"], &["did you mean image_size?"]);
    assert_eq!(twice.matches("image_size").count(), 1, "{twice}");
    tiny::of(Variant::Dev).write(desk.path("w"));
    let picture = |value: &str, words: &[&str]| {
        let field = format!("image_url={value}");
        let args = ["run", "fal-ai/flux/dev/image-to-image", "a cat", "--weights", "w", "-i", &field];
        let said = desk.refuses(&args, 2, words);
        assert!(!said.contains("os error"), "{said}");
    };
    picture("nofile.png", &["image_url: ", "there is no file nofile.png"]);
    picture("", &["image_url: ", "it is empty; give a path, a URL or a data URI"]);
}

#[test]
fn weights_of_the_other_flux_are_told() {
    let desk = Desk::new();
    tiny::of(Variant::Schnell).write(desk.path("schnell"));
    tiny::of(Variant::Dev).write(desk.path("dev"));
    let quick =
        ["-i", "image_size=64x64", "-i", "num_inference_steps=1", "-i", "max_sequence_length=16", "-o", "a.png"];
    let run = |id: &str, folder: &str| {
        let out = desk.scumble(&[&["run", id, "a cat", "--weights", folder], &quick[..]].concat());
        succeeded(&out);
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let doctor = |id: &str, folder: &str| {
        let weights = format!("{id}={folder}");
        succeeded(&desk.scumble(&["doctor", "--listen", "127.0.0.1:0", "--data-dir", "d", "--weights", &weights]))
    };
    for (id, own, other, said) in [
        (
            "fal-ai/flux/dev",
            "dev",
            "schnell",
            "without guidance, as FLUX.1 [schnell] is: guidance_scale counts for nothing",
        ),
        ("fal-ai/flux/schnell", "schnell", "dev", "with guidance, as FLUX.1 [dev] is"),
    ] {
        let line = format!("note   weights    {id}: these weights are of a model {said}");
        assert!(run(id, other).contains(said) && doctor(id, other).contains(&line), "{id}: {}", doctor(id, other));
        assert!(!run(id, own).contains("guidance") && !doctor(id, own).contains("guidance"), "{id}");
    }
}
