//! Adapters that callers name, from every source, against a hub and hosts on loopback.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "common/far.rs"]
mod far;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use far::{COMMIT, Far, asked, hub, weights};
use scumble_api::{Scope, find};
use scumble_engine::{Pixels, Stage};
use scumble_worker::runner::{RunError, Watch};
use scumble_worker::{Adapters, AdaptersConfig, Budget, FetchConfig, GivenAdapter, Hub, Inputs, Paths};
use serde_json::{Value, json};

const FLUX: &str = "fal-ai/flux-lora";
const SD35: &str = "fal-ai/stable-diffusion-v35-large";

/// Hears the log; may want to stop.
#[derive(Default)]
struct Ear {
    log: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl Watch for Ear {
    fn stage(&self, _: Stage) {}
    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
    fn log(&self, message: &str) {
        self.log.lock().unwrap().push(message.to_owned());
    }
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// A place for downloads, and who looks for adapters there.
struct Desk {
    folder: tempfile::TempDir,
    config: AdaptersConfig,
}

impl Desk {
    fn new(hub: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = AdaptersConfig {
            cache: Some(folder.path().join("cache")),
            paths: Paths::Below(vec![folder.path().join("models")]),
            hub: Hub::new(hub, None).unwrap(),
            allow_private: true,
            free_bytes: 1,
            ..AdaptersConfig::default()
        };
        std::fs::create_dir(folder.path().join("models")).unwrap();
        Self { folder, config }
    }

    fn inputs(&self) -> Inputs {
        Inputs::local(FetchConfig::default(), Budget::default(), Adapters::new(self.config.clone()))
    }

    async fn find(&self, endpoint: &str, body: Value) -> Result<Vec<GivenAdapter>, RunError> {
        look(&self.inputs(), endpoint, body, &Ear::default()).await
    }

    async fn lora(&self, path: &str) -> Result<GivenAdapter, RunError> {
        Ok(self.find(FLUX, lora(path)).await?.remove(0))
    }

    /// `loc` and `msg` of why there is none.
    async fn refused(&self, endpoint: &str, body: Value) -> (String, String) {
        told(self.find(endpoint, body).await)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Names in the cache with this end.
    fn kept(&self, end: &str) -> usize {
        let entries = std::fs::read_dir(self.folder.path().join("cache")).into_iter().flatten();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == end)).count()
    }
}

async fn look(inputs: &Inputs, endpoint: &str, body: Value, ear: &Ear) -> Result<Vec<GivenAdapter>, RunError> {
    inputs.adapters(&find(endpoint).unwrap().parse(&body, Scope::Wire).unwrap(), ear).await
}

fn lora(path: &str) -> Value {
    json!({ "prompt": "x", "loras": [{ "path": path }] })
}

fn told(found: Result<Vec<GivenAdapter>, RunError>) -> (String, String) {
    let error = found.expect_err("nothing is found");
    assert!(matches!(error, RunError::Invalid(_)), "{error:?}");
    let answer = error.answer();
    assert_eq!(answer.status, 422);
    let problem = &answer.body["detail"][0];
    let loc =
        problem["loc"].as_array().unwrap().iter().map(|part| part.to_string().replace('"', "")).collect::<Vec<_>>();
    (loc.join("."), problem["msg"].as_str().unwrap().to_owned())
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn a_repository_gives_its_weights_and_what_belongs_to_them() {
    let hub =
        hub(&[("a.safetensors", weights(1)), ("config.json", b"{}".to_vec()), ("x/b.safetensors", weights(2))]).await;
    let desk = Desk::new(&hub.url);
    for (name, expected) in [
        ("owner/name", 1),
        ("owner/name/a.safetensors", 1),
        ("owner/name/x/b.safetensors", 2),
        ("owner/name/x", 2),
        ("https://huggingface.co/owner/name/blob/main/x/b.safetensors", 2),
        (&format!("{}/owner/name/resolve/{COMMIT}/a.safetensors", hub.url), 1),
    ] {
        let found = desk.lora(name).await.unwrap();
        assert_eq!(found.path, ["loras", "0", "path"]);
        assert_eq!(read(&found.files.weights[0]), weights(expected), "{name}");
        assert_eq!(found.files.config.is_some(), expected == 1, "{name}");
        assert!(!found.files.name.is_empty() && name.starts_with(&found.files.name), "{}", found.files.name);
    }
    let files = asked(&hub).iter().filter(|path| path.ends_with("a.safetensors")).count();
    assert_eq!(files, 1, "a commit's files are downloaded once: {:?}", asked(&hub));
}

#[tokio::test]
async fn every_field_beside_counts() {
    let encoder = [("enc/model.safetensors", weights(3)), ("enc/preprocessor_config.json", b"{}".to_vec())];
    let pickle = [b"PK\x03\x04pickle".to_vec(), b"PK\x05\x06".to_vec()].concat();
    let files = [&[("ip/ip-adapter.bin", pickle.clone()), ("ip/other.safetensors", weights(4))][..], &encoder].concat();
    let hub = hub(&files).await;
    let desk = Desk::new(&hub.url);
    let adapter = |more: Value| {
        let mut adapter = json!({ "path": "owner/name", "image_encoder_path": "owner/name", "image_url": "u", "scale": 1,
                                  "subfolder": "ip", "weight_name": "ip-adapter.bin", "image_encoder_subfolder": "enc" });
        adapter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "prompt": "x", "ip_adapter": adapter })
    };
    let found = desk.find(SD35, adapter(json!({}))).await.unwrap();
    let paths: Vec<_> = found.iter().map(|one| one.path.join(".")).collect();
    assert_eq!(paths, ["ip_adapter.path", "ip_adapter.image_encoder_path"]);
    assert_eq!(read(&found[0].files.weights[0]), pickle);
    assert_eq!(read(&found[1].files.weights[0]), weights(3));
    assert!(found[1].files.preprocessor.is_some() && found[1].files.config.is_none());
    for (change, at, word) in [
        (json!({ "weight_name": "none.bin" }), "weight_name", "ip/other.safetensors"),
        (json!({ "weight_name": "a.ckpt" }), "weight_name", ".ckpt"),
        (json!({ "weight_name": "../a.bin" }), "weight_name", "inside"),
        (json!({ "subfolder": "/..", "weight_name": null }), "subfolder", "inside"),
        (json!({ "image_encoder_weight_name": "x.bin" }), "image_encoder_weight_name", "enc/model.safetensors"),
        (json!({ "path": format!("{}/a.bin", hub.url) }), "subfolder", "leave this out"),
    ] {
        let (loc, said) = desk.refused(SD35, adapter(change)).await;
        assert_eq!(loc, format!("body.ip_adapter.{at}"), "{said}");
        assert!(said.contains(word) || said.contains(word.rsplit('/').next().unwrap()), "{said}");
    }
}

#[tokio::test]
async fn several_files_without_a_name_are_listed() {
    let hub = hub(&[("a.safetensors", weights(1)), ("b.safetensors", weights(2))]).await;
    let desk = Desk::new(&hub.url);
    let (loc, said) = desk.refused(FLUX, lora("owner/name")).await;
    assert_eq!(loc, "body.loras.0.path");
    assert!(said.contains("owner/name") && said.contains("a.safetensors, b.safetensors"), "{said}");
    let named = json!({ "prompt": "x", "loras": [{ "path": "owner/name", "weight_name": "b.safetensors" }] });
    let found = desk.find("fal-ai/hidream-i1-full", named).await.unwrap();
    assert_eq!(read(&found[0].files.weights[0]), weights(2));
    assert!(!asked(&hub).iter().any(|path| path.ends_with("a.safetensors")), "nothing is downloaded to look at it");
}

#[tokio::test]
async fn what_the_name_tells_is_refused_without_asking() {
    let hub = hub(&[("a.safetensors", weights(1))]).await;
    let desk = Desk::new(&hub.url);
    for path in ["owner/name/a.ckpt", "owner/name/a.bin", "http://127.0.0.1:1/a.pt", "x", "ftp://a/b.safetensors"] {
        let (loc, said) = desk.refused(FLUX, lora(path)).await;
        assert_eq!(loc, "body.loras.0.path", "{said}");
    }
    assert_eq!(asked(&hub), [""; 0]);
    assert_eq!(desk.kept("part"), 0);
}

#[tokio::test]
async fn a_url_is_read_once_then_asked_whether_it_has_changed() {
    let version = Arc::new(Mutex::new(1u8));
    let now = version.clone();
    let host = Far::new(move |_, headers| {
        let tag = format!("\"{}\"", now.lock().unwrap());
        if headers.get("if-none-match").is_some_and(|known| known.to_str().unwrap() == tag) {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        ([("etag", tag)], weights(*now.lock().unwrap())).into_response()
    })
    .await;
    let mut desk = Desk::new(&host.url);
    let url = format!("{}/a.safetensors?sig=s3cret", host.url);
    let first = desk.lora(&url).await.unwrap();
    assert!(!first.files.name.contains("s3cret"));
    let ear = Ear::default();
    look(&desk.inputs(), FLUX, lora(&url), &ear).await.unwrap();
    assert_eq!(host.heard().len(), 1, "what is new is not asked for");
    let log = ear.log.lock().unwrap().join("\n");
    assert!(log.contains("loras.0.path") && log.contains("cache") && !log.contains("s3cret"), "{log}");

    desk.config.fresh = Duration::ZERO;
    assert_eq!(read(&desk.lora(&url).await.unwrap().files.weights[0]), weights(1));
    assert_eq!((host.heard().len(), desk.kept("safetensors")), (2, 1));
    *version.lock().unwrap() = 2;
    let second = desk.lora(&url).await.unwrap();
    assert_eq!(read(&second.files.weights[0]), weights(2));
    assert_eq!(read(&first.files.weights[0]), weights(1), "whoever uses the old one still has it");
    drop(host);
    let ear = Ear::default();
    let offline = look(&desk.inputs(), FLUX, lora(&url), &ear).await.unwrap();
    assert_eq!(read(&offline[0].files.weights[0]), weights(2));
    assert!(ear.log.lock().unwrap()[0].contains("was not asked"));
}

#[tokio::test]
async fn what_is_no_file_of_weights_is_told_and_not_kept() {
    let host = Far::new(|path, _| match path {
        "/page.safetensors" => "<!doctype html><p>sign in".into_response(),
        "/cut.safetensors" => weights(1)[..weights(1).len() - 1].to_vec().into_response(),
        "/empty.safetensors" => "".into_response(),
        "/pickle" => b"PK\x03\x04 and so on".to_vec().into_response(),
        "/large.safetensors" => [weights(1), vec![0; 2000]].concat().into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    let mut desk = Desk::new(&host.url);
    desk.config.max_bytes = 1000;
    for (name, word) in [
        ("page.safetensors", "not a file of weights"),
        ("cut.safetensors", "cut"),
        ("empty.safetensors", "not a file of weights"),
        ("pickle", "safetensors"),
        ("large.safetensors", "1000 bytes"),
        ("missing.safetensors", "404"),
    ] {
        let (loc, said) = desk.refused(FLUX, lora(&format!("{}/{name}", host.url))).await;
        assert_eq!(loc, "body.loras.0.path");
        assert!(said.contains(word) && !said.contains(desk.folder.path().to_str().unwrap()), "{name}: {said}");
    }
    assert_eq!((desk.kept("part"), desk.kept("safetensors"), desk.kept("meta")), (0, 0, 0));
    let (loc, said) = desk.refused(FLUX, json!({ "prompt": "x", "loras": [{ "path": "owner/gone" }] })).await;
    assert_eq!(loc, "body.loras.0.path");
    assert!(said.contains("owner/gone") && said.contains("HF_TOKEN"), "{said}");
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_nowhere_else() {
    let away = Far::new(|_, _| weights(1).into_response()).await;
    let to = away.url.clone();
    let hub = Far::new(move |path, _| match path {
        _ if path.starts_with("/api/models/") => {
            far::listing(&["a.safetensors".to_owned(), "b.safetensors".to_owned()])
        }
        "/datasets/x/y" => weights(1).into_response(),
        _ if path.ends_with("/b.safetensors") => Redirect::temporary("/datasets/x/y").into_response(),
        _ => Redirect::temporary(&format!("{to}/blob")).into_response(),
    })
    .await;
    let mut desk = Desk::new(&hub.url);
    desk.config.hub = Hub::new(&hub.url, Some("s3cret")).unwrap();
    assert!(!format!("{:?}", desk.config).contains("s3cret"));
    desk.lora("owner/name/a.safetensors").await.unwrap();
    desk.lora(&format!("{}/other.safetensors", away.url)).await.unwrap();
    let sent = |far: &Far| far.heard().into_iter().map(|(_, sent)| sent).collect::<Vec<_>>();
    assert_eq!(sent(&hub), [Some("Bearer s3cret".to_owned()), Some("Bearer s3cret".to_owned())]);
    assert_eq!(sent(&away), [None, None]);
    // nor with what is no file of a repository there
    desk.lora(&format!("{}/datasets/x/y", hub.url)).await.unwrap();
    desk.lora("owner/name/b.safetensors").await.unwrap();
    let told = hub.heard().into_iter().filter(|(path, _)| path == "/datasets/x/y").map(|(_, sent)| sent);
    assert_eq!(told.collect::<Vec<_>>(), [None, None]);
}

#[tokio::test]
async fn those_who_ask_together_wait_for_one_download() {
    let host = Far::slow(weights(1)).await;
    let inputs = Desk::new(&host.url);
    let (desk, inputs) = (&inputs, inputs.inputs());
    let url = format!("{}/a.safetensors", host.url);
    let ears: Vec<Ear> = (0..8).map(|_| Ear::default()).collect();
    let asking = ears.iter().map(|ear| look(&inputs, FLUX, lora(&url), ear));
    let (found, ()) = tokio::join!(futures::future::join_all(asking), async {
        host.begun(1).await;
        host.go();
    });
    assert!(found.iter().all(|found| found.as_ref().is_ok_and(|found| read(&found[0].files.weights[0]) == weights(1))));
    assert_eq!(host.heard().len(), 1);
    assert_eq!((desk.kept("part"), desk.kept("safetensors")), (0, 1));
}

#[tokio::test]
async fn a_cancel_leaves_nothing_behind_and_the_next_begins_anew() {
    let host = Far::slow(weights(1)).await;
    let desk = Desk::new(&host.url);
    let (inputs, url, ear) = (desk.inputs(), format!("{}/a.safetensors", host.url), Ear::default());
    let (ended, ()) = tokio::join!(look(&inputs, FLUX, lora(&url), &ear), async {
        host.begun(1).await;
        ear.stop.store(true, Ordering::Release);
    });
    assert!(matches!(ended, Err(RunError::Cancelled)), "{ended:?}");
    assert_eq!((desk.kept("part"), desk.kept("safetensors")), (0, 0));
    host.go();
    let again = look(&inputs, FLUX, lora(&url), &Ear::default()).await.unwrap();
    assert_eq!(read(&again[0].files.weights[0]), weights(1));
}

#[tokio::test]
async fn time_runs_out() {
    let host = Far::slow(weights(1)).await;
    let mut desk = Desk::new(&host.url);
    desk.config.time = Duration::from_millis(50);
    let (loc, said) = desk.refused(FLUX, lora(&format!("{}/a.safetensors", host.url))).await;
    assert_eq!(loc, "body.loras.0.path");
    assert!(said.contains("timeout_s"), "{said}");
    assert_eq!(desk.kept("part"), 0);
}

#[tokio::test]
async fn over_http_only_what_is_in_the_owners_folders_can_be_named() {
    let desk = Desk::new(Hub::PUBLIC);
    let outside = desk.write("outside/secret.safetensors", &weights(9));
    let inside = desk.write("models/a.safetensors", &weights(1));
    desk.write("models/control/diffusion_pytorch_model.safetensors", &weights(2));
    desk.write("models/control/config.json", b"{}");
    for path in [inside.to_str().unwrap(), "a.safetensors", "./a.safetensors", &format!("file://{}", inside.display())]
    {
        assert_eq!(read(&desk.lora(path).await.unwrap().files.weights[0]), weights(1), "{path}");
    }
    let control = desk.lora("./control").await.unwrap();
    assert_eq!(read(&control.files.weights[0]), weights(2));
    assert!(control.files.config.is_some());

    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&outside, desk.folder.path().join("models/link.safetensors")).unwrap();
        std::os::unix::fs::symlink(desk.folder.path().join("outside"), desk.folder.path().join("models/dir")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", desk.folder.path().join("models/dangling.safetensors")).unwrap();
    }
    let mut told = Vec::new();
    let up = format!("{}/models/../outside/secret.safetensors", desk.folder.path().display());
    let round = format!("{}/models/../models/a.safetensors", desk.folder.path().display());
    for path in [
        outside.to_str().unwrap(),
        "/nowhere/at/all.safetensors",
        "../outside/secret.safetensors",
        "../models/a.safetensors",
        "./control/../a.safetensors",
        &up,
        &round,
        "/proc/1/../../etc/passwd",
        "./dir/none.safetensors",
        "./dangling.safetensors",
        "./link.safetensors",
        "./dir/secret.safetensors",
        "./dir",
    ] {
        let (loc, said) = desk.refused(FLUX, lora(path)).await;
        assert_eq!(loc, "body.loras.0.path");
        told.push(said.replace(path, ""));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "it does not say whether there is such a file: {told:?}");
    assert!(told[0].contains("[adapters] folders") && told[0].contains("scumble.toml"), "{told:?}");
    // what is inside is told plainly
    let missing = desk.folder.path().join("models/none.safetensors");
    for path in [missing.to_str().unwrap(), "./none.safetensors", "none.safetensors", "./a.safetensors/x.safetensors"] {
        let (loc, said) = desk.refused(FLUX, lora(path)).await;
        assert!(loc == "body.loras.0.path" && said.contains("no such file or folder there"), "{said}");
    }
    desk.write("models/notes", b"x");
    desk.write("models/empty/README.md", b"x");
    for (path, word) in [("./notes", "not a file of weights"), ("./empty", "holds no weights")] {
        let (_, said) = desk.refused(FLUX, lora(path)).await;
        assert!(said.contains(word) && said.contains("safetensors"), "{said}");
    }

    let mut owner = Desk::new(Hub::PUBLIC);
    owner.config.paths = Paths::Any;
    assert_eq!(read(&owner.lora(outside.to_str().unwrap()).await.unwrap().files.weights[0]), weights(9));
    let closed = Desk { config: AdaptersConfig { paths: Paths::Below(Vec::new()), ..owner.config.clone() }, ..owner };
    assert!(closed.refused(FLUX, lora("/x")).await.1.contains("[adapters] folders"));
}

#[tokio::test]
async fn what_comes_in_the_input_is_here_for_as_long_as_it_is_used() {
    let desk = Desk::new(Hub::PUBLIC);
    let uri = |bytes: &[u8]| format!("data:application/octet-stream;base64,{}", STANDARD.encode(bytes));
    let found = desk.lora(&uri(&weights(5))).await.unwrap();
    assert_eq!((read(&found.files.weights[0]), found.files.name.as_str()), (weights(5), "the data URI"));
    let shared = found.clone();
    drop(found);
    assert_eq!((read(&shared.files.weights[0]), desk.kept("meta")), (weights(5), 0));
    drop(shared);
    assert_eq!((desk.kept("safetensors"), desk.kept("part")), (0, 0), "nobody uses it any more");
    let (loc, said) = desk.refused(FLUX, lora(&uri(b"not weights at all"))).await;
    assert!(loc == "body.loras.0.path" && said.contains("not a file of weights") && !said.contains("base64"), "{said}");
}

#[tokio::test]
async fn what_is_on_its_way_counts_too() {
    let slow = Far::slow(weights(1)).await;
    let mut desk = Desk::new(&slow.url);
    desk.config.cache_bytes = 2 * 8192 - 1;
    let (inputs, url) = (desk.inputs(), format!("{}/a.safetensors", slow.url));
    let ear = Ear::default();
    let other = async {
        slow.begun(1).await;
        while desk.kept("part") == 0 {
            tokio::task::yield_now().await;
        }
        let second = look(&inputs, FLUX, lora(&format!("{}/b.safetensors", slow.url)), &Ear::default()).await;
        slow.go();
        told(second)
    };
    let (first, (_, said)) = tokio::join!(look(&inputs, FLUX, lora(&url), &ear), other);
    assert!(said.contains("cache_bytes") && said.contains("try again later"), "{said}");
    let held = first.unwrap();
    let third = look(&inputs, FLUX, lora(&format!("{}/c.safetensors", slow.url)), &ear).await;
    assert!(told(third).1.contains("cache_bytes"), "the first one is in use");
    drop(held);
    look(&inputs, FLUX, lora(&format!("{}/c.safetensors", slow.url)), &ear).await.unwrap();
    assert_eq!((desk.kept("part"), desk.kept("safetensors")), (0, 1));
}

#[tokio::test]
async fn what_was_not_announced_ends_at_the_limit() {
    let host = Far::new(|path, _| {
        let pieces = (0..100u8).map(|n| Ok::<_, std::convert::Infallible>(vec![n; 1024]));
        let body = axum::body::Body::from_stream(futures::stream::iter([Ok(weights(1))].into_iter().chain(pieces)));
        match path {
            "/announced.safetensors" => ([("content-length", "20000")], body).into_response(),
            _ => body.into_response(),
        }
    })
    .await;
    let mut desk = Desk::new(&host.url);
    desk.config.cache_bytes = 16 * 1024;
    for name in ["announced", "endless"] {
        let (_, said) = desk.refused(FLUX, lora(&format!("{}/{name}.safetensors", host.url))).await;
        assert!(said.contains("16384 bytes") && said.contains("cache_bytes"), "{said}");
        assert_eq!(desk.kept("part"), 0);
    }
}

#[tokio::test]
async fn what_the_owner_has_put_here_goes_before_the_hub() {
    let hub = hub(&[("a.safetensors", weights(1))]).await;
    let desk = Desk::new(&hub.url);
    desk.write("models/owner/name/a.safetensors", &weights(2));
    for path in ["owner/name", "owner/name/a.safetensors"] {
        assert_eq!(read(&desk.lora(path).await.unwrap().files.weights[0]), weights(2), "{path}");
    }
    assert_eq!(asked(&hub), [""; 0]);
    let url = format!("{}/owner/name", hub.url);
    assert_eq!(read(&desk.lora(&url).await.unwrap().files.weights[0]), weights(1), "a URL means what it says");
    let (_, said) = desk.refused(FLUX, lora("control/net")).await;
    assert!(said.contains("taken for a repository") && said.contains("./control/net"), "{said}");
}

#[tokio::test]
async fn the_log_tells_which_adapter_came_from_where_and_counts_how_much() {
    let hub = hub(&[("a.safetensors", weights(1))]).await;
    let desk = Desk::new(&hub.url);
    desk.write("models/b.safetensors", &weights(2));
    let uri = format!("data:;base64,{}", STANDARD.encode(weights(3)));
    let loras = json!([{ "path": "owner/name", "scale": 0.5 }, { "path": "b.safetensors" }, { "path": uri }]);
    let ear = Ear::default();
    look(&desk.inputs(), FLUX, json!({ "prompt": "x", "loras": loras }), &ear).await.unwrap();
    let log = ear.log.lock().unwrap();
    let taken: Vec<&String> = log.iter().filter(|line| line.contains("taken from")).collect();
    assert_eq!(taken.len(), 3, "{log:?}");
    for (line, words) in taken.iter().zip([
        ["loras.0.path: owner/name", "the hub's repository owner/name", "scale 0.5"],
        ["loras.1.path: b.safetensors", "a folder of this machine, file b.safetensors", "scale 1"],
        ["loras.2.path: the data URI", "the input itself", "scale 1"],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
}

#[tokio::test]
async fn names_of_a_hub_cannot_turn_a_message_around() {
    let hub = hub(&[("a\u{202e}b\u{1b}[2J.safetensors", weights(1)), ("c.safetensors", weights(2))]).await;
    let desk = Desk::new(&hub.url);
    let (_, said) = desk.refused(FLUX, lora("owner/name")).await;
    assert!(said.contains("a\\u{202e}b\\u{1b}[2J.safetensors, c.safetensors"), "{said}");
    // where there is a field for it, it is named
    assert!(said.contains("name one of them behind this path"), "{said}");
    let (_, said) = desk.refused("fal-ai/hidream-i1-full", lora("owner/name")).await;
    assert!(said.contains("name one of them in weight_name"), "{said}");
}

#[tokio::test]
async fn a_refusal_repeats_no_signature() {
    let host = Far::new(|_, _| StatusCode::NOT_FOUND.into_response()).await;
    let desk = Desk::new(&host.url);
    let url = format!("{}/a.safetensors?X-Signature=s3cret", host.url);
    let answer = desk.lora(&url).await.unwrap_err().answer();
    let problem = &answer.body["detail"][0];
    assert_eq!(problem["input"], format!("{}/a.safetensors", host.url));
    assert!(!answer.body.to_string().contains("s3cret"), "{}", answer.body);
    let empty = desk.lora("").await.unwrap_err();
    assert_eq!(empty.to_string(), "loras.0.path: name an adapter");
}

#[tokio::test]
async fn the_oldest_that_nobody_uses_goes_first() {
    let host = Far::new(|path, _| weights(path.as_bytes()[1]).into_response()).await;
    let mut desk = Desk::new(&host.url);
    // blocks of the disk count, and what is known of a file is a file too
    desk.config.cache_bytes = 2 * 8192;
    let get = async |name: &str| desk.lora(&format!("{}/{name}.safetensors", host.url)).await.unwrap();
    let held = get("a").await;
    drop(get("b").await);
    drop(get("c").await);
    drop(get("d").await);
    assert_eq!(read(&held.files.weights[0]), weights(b'a'), "what is in use stays");
    assert_eq!((desk.kept("safetensors"), desk.kept("meta")), (2, 2));
    let before = host.heard().len();
    drop(get("d").await);
    assert_eq!(host.heard().len(), before, "the newest is there");
    drop(get("b").await);
    assert_eq!(host.heard().len(), before + 1, "the oldest is not");
}

#[tokio::test]
async fn what_a_dead_process_left_goes_and_a_damaged_file_is_read_anew() {
    let host = Far::new(|_, _| weights(1).into_response()).await;
    let desk = Desk::new(&host.url);
    let left = desk.write("cache/0123.part", b"half");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&left).unwrap().set_modified(long_ago).unwrap();
    let url = format!("{}/a.safetensors", host.url);
    let kept = desk.lora(&url).await.unwrap().files.weights.remove(0);
    assert!(!left.exists());
    std::fs::write(&kept, b"shorter").unwrap();
    assert_eq!(read(&desk.lora(&url).await.unwrap().files.weights[0]), weights(1));
    assert_eq!(host.heard().len(), 2);
}

#[tokio::test]
async fn a_full_disk_is_said_so() {
    let host = Far::new(|_, _| weights(1).into_response()).await;
    let mut desk = Desk::new(&host.url);
    desk.config.free_bytes = u64::MAX / 2;
    let (loc, said) = desk.refused(FLUX, lora(&format!("{}/a.safetensors", host.url))).await;
    assert!(loc == "body.loras.0.path" && said.contains("not enough space"), "{said}");
    assert_eq!(desk.kept("part"), 0);
}

#[tokio::test]
async fn private_addresses_need_the_owners_word() {
    let host = Far::new(|_, _| weights(1).into_response()).await;
    let mut desk = Desk::new(Hub::PUBLIC);
    desk.config.allow_private = false;
    let (_, said) = desk.refused(FLUX, lora(&format!("{}/a.safetensors", host.url))).await;
    assert!(said.contains("not on the public internet"), "{said}");
    assert_eq!(host.heard().len(), 0);
}
