//! Single files that are not what they should be, in a running server: the job says what is wrong with which file, and the
//! worker goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reqwest::Method;
use scumble_engine::DType;
use scumble_engine::families::{flux, sd35};
use scumble_testkit::server::{Setup, TestServer};
use scumble_testkit::tiny::files::{Component, Format, Scales, load, write_file};
use scumble_testkit::tiny::{self, Variant};
use scumble_worker::{ModelConfig, Models, ModelsConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

const FLUX: &str = "fal-ai/flux/schnell";
const SD35: &str = "fal-ai/stable-diffusion-v35-large";
const PLAIN: Format = Format::Plain(DType::F32);

/// A server whose FLUX.1 comes from one file, which each test writes, and whose Stable Diffusion is in order.
struct Desk {
    server: TestServer,
    file: PathBuf,
    flux: TempDir,
    sd35: TempDir,
    _files: TempDir,
}

impl Desk {
    async fn new() -> Self {
        let (flux, sd35) = (tiny::of(Variant::Schnell).tempdir(), tiny::of(Variant::Sd35).tempdir());
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("own-file");
        let single =
            ModelConfig { weights: Some(file.clone()), base: Some(flux.path().into()), ..ModelConfig::default() };
        let folder = ModelConfig { weights: Some(sd35.path().into()), ..ModelConfig::default() };
        let models = HashMap::from([(FLUX.to_owned(), single), (SD35.to_owned(), folder)]);
        let config = ModelsConfig { models, ..ModelsConfig::default() };
        let server = TestServer::answering(Setup::default(), Models::new(&config).unwrap()).await;
        Self { server, file, flux, sd35, _files: files }
    }

    fn transformer(&self) -> Component {
        Component::published(&load(self.flux.path(), "transformer"), &flux::NAMES)
    }

    /// Status, headers and body of a queued job's outcome.
    async fn outcome(&self, endpoint: &str) -> (u16, HashMap<String, String>, Value) {
        let sent = self.server.request(Method::POST, &format!("/queue/{endpoint}")).json(&input());
        let submitted: Value = sent.send().await.unwrap().json().await.unwrap();
        self.server.ended(&submitted).await;
        let path = format!("/queue/{endpoint}/requests/{}", submitted["request_id"].as_str().unwrap());
        let answer = self.server.request(Method::GET, &path).send().await.unwrap();
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        (answer.status().as_u16(), headers, answer.json().await.unwrap())
    }

    async fn draw(&self, endpoint: &str) -> Value {
        let (status, _, body) = self.outcome(endpoint).await;
        assert_eq!(status, 200, "{body}");
        body["images"][0]["url"].clone()
    }
}

fn input() -> Value {
    json!({ "prompt": "a fox", "seed": 7, "image_size": { "width": 64, "height": 64 }, "num_inference_steps": 1,
            "sync_mode": true })
}

/// Puts the number of a type that nobody reads in place of that of the last tensor.
fn strange_type(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let name = b"linear2.weight";
    let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap() + name.len();
    // behind the name: how many sides, two of them, the type
    bytes[at + 4 + 16..at + 4 + 20].copy_from_slice(&23u32.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - 5]).unwrap();
}

/// Takes one scale's name away, and leaves the tensor under another.
fn renamed_scale(path: &Path) {
    let (mut bytes, name) = (std::fs::read(path).unwrap(), b"\"txt_in.scale_weight");
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"\"txt_in.scale_zebra!");
    std::fs::write(path, bytes).unwrap();
}

type Write<'a> = &'a dyn Fn(&Path);

#[tokio::test]
async fn a_wrong_file_fails_its_job_and_nothing_else() {
    let desk = Desk::new().await;
    let expected = desk.draw(SD35).await;
    let (whole, other) = (desk.transformer(), load(desk.sd35.path(), "transformer"));
    let (other, vae) = (Component::published(&other, &sd35::NAMES), load(desk.flux.path(), "vae"));
    let write =
        |path: &Path, format, component: &Component| drop(write_file(path, format, std::slice::from_ref(component)));
    let cases: [(&str, Write<'_>, &[&str]); 9] = [
        ("cut safetensors", &|path| (write(path, PLAIN, &whole), cut(path)).1, &["promises", "and it has"]),
        ("cut GGUF", &|path| (write(path, Format::Gguf, &whole), cut(path)).1, &["cut short"]),
        ("another family", &|path| write(path, PLAIN, &other), &["FluxPipeline", "StableDiffusion3Pipeline"]),
        ("no transformer", &|path| write(path, PLAIN, &Component::autoencoder(&vae)), &["an autoencoder", "expected"]),
        (
            "a tensor is missing",
            &|path| write(path, PLAIN, &desk.transformer().without("single_blocks.1.linear2")),
            &["single_transformer_blocks.1.proj_out", "missing"],
        ),
        (
            "a type that nobody reads",
            &|path| (write(path, Format::Gguf, &whole), strange_type(path)).1,
            &["linear2.weight", "IQ4_XS", "are read"],
        ),
        (
            "a scale is gone",
            &|path| (write(path, Format::Fp8(Some(Scales::Marked)), &whole), renamed_scale(path)).1,
            &["txt_in.weight is fp8 without a scale", "expected txt_in.scale_weight"],
        ),
        ("a pickle", &|path| std::fs::write(path, b"\x80\x02}q\x00.").unwrap(), &["pickle", "safetensors and GGUF"]),
        ("nothing", &|path| drop(std::fs::remove_file(path)), &["no such file"]),
    ];
    for (name, write, parts) in cases {
        write(&desk.file);
        let (status, headers, body) = desk.outcome(FLUX).await;
        let said = body["detail"].as_str().unwrap_or_else(|| panic!("{name}: {body}"));
        assert_eq!((status, &body["error_type"]), (400, &json!("bad_request")), "{name}: {said}");
        assert_eq!(headers["x-fal-error-type"], "bad_request", "{name}");
        assert_eq!((&*headers["x-fal-needs-retry"], &*headers["x-fal-retryable"]), ("0", "false"), "{name}");
        let file = ["weights cannot be used", "own-file"];
        for part in file.iter().chain(parts) {
            assert!(said.contains(part), "{name}: {part:?} is not in {said:?}");
        }
        assert_eq!(desk.draw(SD35).await, expected, "{name}: another model draws as before");
    }
    // what was wrong is not remembered
    write(&desk.file, PLAIN, &whole);
    let drawn = desk.draw(FLUX).await;
    assert!(drawn.as_str().is_some_and(|url| url.starts_with("data:image")), "{drawn}");
}
