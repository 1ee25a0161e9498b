//! `scumble models pull` from a hub on loopback, and who finds then what has come.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;
#[path = "../../hub/tests/fake/mod.rs"]
mod fake;

use std::path::Path;
use std::process::{Command, Output};

use common::{Desk, plain, succeeded};
use fake::{Door, Fake, Fault};
use scumble_engine::DType;
use scumble_engine::checkers::CheckerKind;
use scumble_testkit::tiny::files::{Component, Format, load, write_file};
use scumble_testkit::tiny::{self, Variant};
use serde_json::{Value, json};

const SCHNELL: &str = "fal-ai/flux/schnell";
const SCHNELL_REPO: &str = "black-forest-labs/FLUX.1-schnell";
const LLAMA_REPO: &str = "meta-llama/Meta-Llama-3.1-8B-Instruct";

type Files = Vec<(String, Vec<u8>)>;

/// All files of a tiny checkpoint.
fn files(variant: Variant) -> Files {
    fn collect(root: &Path, folder: &Path, found: &mut Files) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    tiny::of(variant).write(folder.path());
    let mut found = Vec::new();
    collect(folder.path(), folder.path(), &mut found);
    found
}

fn put(fake: &Fake, name: &str, files: &Files) {
    fake.holds(name, &files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect::<Vec<_>>());
}

/// A hub that has FLUX.1 [schnell], and things beside it that nobody needs.
async fn hub() -> Fake {
    let fake = Fake::new().await;
    let mut all = files(Variant::Schnell);
    all.push(("README.md".to_owned(), b"# a model".to_vec()));
    all.push(("flux1-schnell.safetensors".to_owned(), vec![7; 5_000_000]));
    put(&fake, SCHNELL_REPO, &all);
    fake
}

/// A command that knows this hub and no other. It runs on a thread of its own, since the hub answers on this one.
fn command(desk: &Desk, fake: &Fake, args: &[&str]) -> Command {
    let mut command = desk.command(args);
    command.env("HF_ENDPOINT", &fake.url);
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn scumble(desk: &Desk, fake: &Fake, args: &[&str]) -> Output {
    output(command(desk, fake, args)).await
}

/// Expects this exit code, and these words on stderr.
#[track_caller]
fn refused(out: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

fn far(fake: &Fake) -> Vec<String> {
    fake.asked().into_iter().filter(|asked| asked.far).map(|asked| asked.path).collect()
}

const DRAW: [&str; 8] = ["run", SCHNELL, "a star", "-i", "num_inference_steps=1", "-i", "image_size=32x32", "--seed=1"];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_is_found_and_what_was_removed_is_gone() {
    let (desk, fake) = (Desk::new(), hub().await);
    let out = scumble(&desk, &fake, &DRAW).await;
    refused(&out, 3, &["`scumble models pull fal-ai/flux/schnell` fetches them (33.7 GB, Apache-2.0)"]);

    let out = scumble(&desk, &fake, &["models", "pull", SCHNELL]).await;
    let folder = succeeded(&out).trim().to_owned();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("Apache-2.0") && said.contains(&format!("{}/{SCHNELL_REPO}", fake.url)), "{said}");
    assert!(Path::new(&folder).join("model_index.json").is_file(), "{folder}");
    let asked = far(&fake);
    assert!(!asked.is_empty() && !asked.iter().any(|path| path.contains("flux1-schnell")), "nothing more: {asked:?}");

    succeeded(&scumble(&desk, &fake, &[&DRAW[..], &["-o", "star.png"]].concat()).await);
    assert!(desk.path("star.png").is_file());
    let list = succeeded(&scumble(&desk, &fake, &["models", "list"]).await);
    let line = |id: &str| list.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap().to_owned();
    assert!(line("fal-ai/flux-1/schnell").ends_with("Runs here"), "the same model: {list}");
    assert!(
        line("FLUX.1-schnell").ends_with("runs on cpu in the files' own types")
            && line("FLUX.1-schnell").contains("bf16"),
        "{list}"
    );
    let all: Value =
        serde_json::from_str(&succeeded(&scumble(&desk, &fake, &["models", "list", "--json"]).await)).unwrap();
    let entry = all.as_array().unwrap().iter().find(|entry| entry["id"] == SCHNELL).unwrap();
    assert_eq!(entry["weights"]["sources"][0]["commit"], fake::COMMIT);
    assert!(entry["weights"]["bytes"].as_u64().unwrap() > 1000, "{entry}");
    // a folder that the owner names goes before it
    let named = scumble(&desk, &fake, &["models", "list", "--weights", "fal-ai/flux/schnell=nowhere"]).await;
    assert!(succeeded(&named).contains(
        "fal-ai/flux/schnell                    FLUX.1 [schnell]                         text-to-image   Needs weights"
    ));

    let serving = desk.serve(&[]);
    let body = json!({ "prompt": "a star", "num_inference_steps": 1, "image_size": { "width": 32, "height": 32 } });
    let answer = plain().post(format!("http://{}/run/{SCHNELL}", serving.address)).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    drop(serving);

    fake.asked();
    let again = scumble(&desk, &fake, &["models", "pull", SCHNELL]).await;
    refused(&again, 0, &["are here already"]);
    assert_eq!(far(&fake), Vec::<String>::new());

    let out = scumble(&desk, &fake, &["models", "remove", SCHNELL]).await;
    assert!(succeeded(&out).contains("free again"), "{out:?}");
    assert!(!Path::new(&folder).exists());
    assert!(!desk.path(".cache/huggingface/hub/models--black-forest-labs--FLUX.1-schnell").exists());
    refused(&scumble(&desk, &fake, &DRAW).await, 3, &["scumble models pull fal-ai/flux/schnell"]);
    refused(&scumble(&desk, &fake, &["models", "remove", SCHNELL]).await, 3, &["nothing was fetched"]);
}

/// Found by `doctor`, by a server, by a command, until it is removed; what is not here stops all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_checker_is_pulled_and_found_by_its_name() {
    let (desk, fake) = (Desk::new(), hub().await);
    let made = tempfile::tempdir().unwrap();
    tiny::checkers::write(CheckerKind::Falconsai, made.path());
    let names = ["config.json", "model.safetensors", "preprocessor_config.json"];
    let all: Files =
        names.iter().map(|name| ((*name).to_owned(), std::fs::read(made.path().join(name)).unwrap())).collect();
    put(&fake, "Falconsai/nsfw_image_detection", &all);
    desk.write("scumble.toml", "[safety]\nchecker = \"falconsai\"\nflagged = \"black\"\n");
    let doctor = ["doctor", "--data-dir", "data", "--config", "scumble.toml", "--listen", "127.0.0.1:0"];
    let pull = "`scumble models pull falconsai` fetches them";
    let ill = scumble(&desk, &fake, &doctor).await;
    assert!(String::from_utf8_lossy(&ill.stdout).contains(pull) && ill.status.code() == Some(3), "{ill:?}");
    succeeded(&scumble(&desk, &fake, &["models", "list", "--config", "scumble.toml"]).await);
    let shown = succeeded(&scumble(&desk, &fake, &["models", "show", "falconsai"]).await);
    assert!(shown.contains("`scumble models pull falconsai` fetches") && shown.contains("343.2 MB"), "{shown}");
    succeeded(&scumble(&desk, &fake, &["models", "pull", SCHNELL]).await);
    let checked = [&DRAW[..], &["-o", "a.png", "--json", "--config", "scumble.toml"]].concat();
    refused(&scumble(&desk, &fake, &checked).await, 3, &[pull]);
    assert!(!desk.path("a.png").exists(), "nothing was drawn");
    // who switches it off needs none, and without the setting it is said that nobody has looked
    succeeded(&scumble(&desk, &fake, &[&checked[..], &["-i", "enable_safety_checker=false"]].concat()).await);
    refused(&scumble(&desk, &fake, &[&DRAW[..], &["-o", "b.png"]].concat()).await, 0, &["this server has no checker"]);
    desk.refuses(&["serve", "--data-dir", "data", "--config", "scumble.toml", "--listen", "127.0.0.1:0"], 3, &[pull]);

    let out = scumble(&desk, &fake, &["models", "pull", "falconsai"]).await;
    let folder = succeeded(&out).trim().to_owned();
    assert!(Path::new(&folder).join("model.safetensors").is_file(), "{folder}");
    refused(&out, 0, &["Apache-2.0", "[safety] checker = \"falconsai\""]);
    let well = succeeded(&scumble(&desk, &fake, &doctor).await);
    assert!(
        well.contains("ok     safety     falconsai looks at pictures that are made here; flagged = \"black\""),
        "{well}"
    );
    let list = succeeded(&scumble(&desk, &fake, &["models", "list"]).await);
    assert!(
        list.contains("looks at pictures, with [safety] checker = \"falconsai\"") && list.contains("can be used"),
        "{list}"
    );

    let drawn = scumble(&desk, &fake, &checked).await;
    let answer: Value = serde_json::from_str(&succeeded(&drawn)).unwrap();
    assert!(answer["timings"]["check"].as_f64().is_some() && answer["has_nsfw_concepts"][0].is_boolean(), "{answer}");

    // another checker's files are said to be that before anything starts
    desk.write("scumble.toml", &format!("[safety]\nchecker = \"compvis\"\nweights = {folder:?}\n"));
    let other = scumble(&desk, &fake, &doctor).await;
    assert!(
        String::from_utf8_lossy(&other.stdout).contains("FAILS  safety     [safety] checker: compvis cannot be used")
    );
    assert_eq!(other.status.code(), Some(3));
    succeeded(&scumble(&desk, &fake, &["models", "remove", "falconsai"]).await);
    assert!(!Path::new(&folder).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_repository_that_a_model_needs_comes_and_each_licence_is_named() {
    let (desk, fake) = (Desk::new(), Fake::new().await);
    let (llama, own): (Files, Files) = files(Variant::HiDreamFast)
        .into_iter()
        .partition(|(path, _)| path.starts_with("text_encoder_4/") || path.starts_with("tokenizer_4/"));
    let llama = llama.into_iter().map(|(path, bytes)| (path.split_once('/').unwrap().1.to_owned(), bytes)).collect();
    put(&fake, "HiDream-ai/HiDream-I1-Fast", &own);
    put(&fake, LLAMA_REPO, &llama);
    fake.repo(LLAMA_REPO, |repo| repo.door = Door::Gated("s3cret"));
    let pull = ["models", "pull", "fal-ai/hidream-i1-fast"];

    // whom one publisher has not let in is told before hours of the other's files
    let out = scumble(&desk, &fake, &pull).await;
    refused(&out, 3, &["HiDream-ai/HiDream-I1-Fast: MIT", LLAMA_REPO, "HF_TOKEN", "accept it at"]);
    assert_eq!(far(&fake), Vec::<String>::new());

    let mut command = command(&desk, &fake, &pull);
    command.env("HF_TOKEN", "s3cret");
    let out = output(command).await;
    let folder = succeeded(&out).trim().to_owned();
    refused(&out, 0, &["Llama 3.1 Community License"]);
    assert!(!String::from_utf8_lossy(&out.stderr).contains("s3cret"));
    for file in ["text_encoder_4/config.json", "tokenizer_4/tokenizer.json", "transformer/config.json"] {
        assert!(Path::new(&folder).join(file).is_file(), "{file}");
    }
    let draw = ["run", "fal-ai/hidream-i1-fast", "a star", "-i", "num_inference_steps=1", "-i", "image_size=32x32"];
    succeeded(&scumble(&desk, &fake, &[&draw[..], &["-o", "star.png"]].concat()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_repository_of_the_same_model_will_do_and_one_of_another_will_not() {
    let (desk, fake) = (Desk::new(), Fake::new().await);
    put(&fake, "someone/schnell-copy", &files(Variant::Schnell));
    put(&fake, "someone/aura", &files(Variant::AuraFlow));
    let pull = |from: &'static str| ["models", "pull", SCHNELL, "--from", from];
    let out = scumble(&desk, &fake, &pull("someone/aura")).await;
    // it lacks a second tokenizer, too, which is found out first
    refused(&out, 3, &["someone/aura"]);
    for (from, words) in
        [("someone/gone", &["no repository someone/gone"][..]), ("someone/schnell-copy@v9", &["no revision \"v9\""])]
    {
        refused(&scumble(&desk, &fake, &pull(from)).await, 3, words);
    }
    for from in ["schnell", "../x/y", "someone/schnell-copy@../..", "someone/schnell-copy@"] {
        refused(&scumble(&desk, &fake, &pull(from)).await, 2, &["--from"]);
    }
    assert_eq!(far(&fake), Vec::<String>::new());
    // of the right layout and another class
    let mut other = files(Variant::Schnell);
    let index = other.iter_mut().find(|(path, _)| path == "model_index.json").unwrap();
    index.1 = br#"{"_class_name": "FluxFillPipeline"}"#.to_vec();
    put(&fake, "someone/fill", &other);
    refused(&scumble(&desk, &fake, &pull("someone/fill")).await, 3, &["FluxFillPipeline", "FluxPipeline"]);
    assert_eq!(far(&fake), Vec::<String>::new());
    succeeded(&scumble(&desk, &fake, &pull("someone/schnell-copy@v1")).await);
    succeeded(&scumble(&desk, &fake, &[&DRAW[..], &["-o", "star.png"]].concat()).await);
    let list = succeeded(&scumble(&desk, &fake, &["models", "list"]).await);
    assert!(list.contains("from someone/schnell-copy@v1"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokenizers_come_alone_and_without_a_network_what_is_here_is_used() {
    let (desk, fake) = (Desk::new(), hub().await);
    let out = scumble(&desk, &fake, &["models", "pull", SCHNELL, "--tokenizers"]).await;
    let folder = succeeded(&out).trim().to_owned();
    for file in ["model_index.json", "transformer/config.json", "tokenizer_2/tokenizer.json", "tokenizer/vocab.json"] {
        assert!(Path::new(&folder).join(file).is_file(), "{file}");
    }
    assert_eq!(far(&fake), Vec::<String>::new(), "no weights");
    refused(&scumble(&desk, &fake, &DRAW).await, 3, &["scumble models pull"]);

    let offline = |args: &[&str]| {
        let mut command = command(&desk, &fake, args);
        command.env("HF_HUB_OFFLINE", "1");
        output(command)
    };
    let out = offline(&["models", "pull", SCHNELL]).await;
    refused(&out, 3, &["lacks", "transformer/diffusion_pytorch_model.safetensors"]);
    refused(&offline(&["models", "pull", "fal-ai/flux/dev"]).await, 3, &["HF_HUB_OFFLINE"]);
    succeeded(&scumble(&desk, &fake, &["models", "pull", SCHNELL]).await);
    std::fs::remove_dir_all(desk.path(".cache/huggingface/scumble")).unwrap();
    fake.asked();
    succeeded(&offline(&["models", "pull", SCHNELL]).await);
    assert!(fake.asked().is_empty(), "nobody was asked");
    succeeded(&offline(&[&DRAW[..], &["-o", "star.png"]].concat()).await);
}

/// A file of a transformer and folders of encoders, with no base: what is left are tokenizers.
#[tokio::test(flavor = "multi_thread")]
async fn tokenizers_that_were_pulled_go_with_weights_in_one_file() {
    const ID: &str = "fal-ai/stable-diffusion-v35-large";
    let (desk, fake) = (Desk::new(), Fake::new().await);
    put(&fake, "stabilityai/stable-diffusion-3.5-large", &files(Variant::Sd35));
    tiny::of(Variant::Sd35).write(desk.path("folder"));
    let transformer = load(&desk.path("folder"), "transformer");
    std::fs::create_dir(desk.path("files")).unwrap();
    write_file(&desk.path("files/sd35.safetensors"), Format::Plain(DType::F32), &[Component::same(&transformer)]);
    let draw = |weights: &[&str]| {
        let input = ["-i", "num_inference_steps=1", "-i", "image_size=32x32", "--seed=1", "-o", "star.png"];
        command(&desk, &fake, &[&["run", ID, "a star"], weights, &input].concat())
    };
    let parts: Vec<String> = ["vae", "text_encoder", "text_encoder_2", "text_encoder_3"]
        .iter()
        .flat_map(|name| ["--component".to_owned(), format!("{name}=folder/{name}")])
        .collect();
    let file: Vec<&str> =
        ["--weights", "files/sd35.safetensors"].into_iter().chain(parts.iter().map(String::as_str)).collect();
    refused(&output(draw(&file)).await, 3, &["tokenizer", "scumble models pull ENDPOINT --tokenizers"]);
    succeeded(&scumble(&desk, &fake, &["models", "pull", ID, "--tokenizers"]).await);
    succeeded(&output(draw(&file)).await);
    let own = std::fs::read(desk.path("star.png")).unwrap();
    succeeded(&output(draw(&["--weights", "folder"])).await);
    assert_eq!(own, std::fs::read(desk.path("star.png")).unwrap());
    // those of another repository, of another revision than its usual one, are found as well
    succeeded(&scumble(&desk, &fake, &["models", "remove", ID]).await);
    refused(&output(draw(&file)).await, 3, &["tokenizer", "scumble models pull ENDPOINT --tokenizers"]);
    put(&fake, "somebody/copy", &files(Variant::Sd35));
    let from = ["models", "pull", ID, "--tokenizers", "--from"];
    succeeded(&scumble(&desk, &fake, &[&from[..], &[&format!("somebody/copy@{}", fake::COMMIT)]].concat()).await);
    succeeded(&output(draw(&file)).await);
    assert_eq!(own, std::fs::read(desk.path("star.png")).unwrap());
    // a server finds them too
    let list: String = ["vae", "text_encoder", "text_encoder_2", "text_encoder_3"]
        .map(|name| format!("{name} = \"folder/{name}\""))
        .join(", ");
    desk.write(
        "s.toml",
        &format!("[models.\"{ID}\"]\nweights = \"files/sd35.safetensors\"\ncomponents = {{ {list} }}\n"),
    );
    let doctor = ["doctor", "--config", "s.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    succeeded(&scumble(&desk, &fake, &doctor).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_may_be_a_repository_that_is_here() {
    let (desk, fake) = (Desk::new(), hub().await);
    let with = |weights: &'static str| [&DRAW[..], &["--weights", weights, "-o", "star.png"]].concat();
    let hint = "scumble models pull fal-ai/flux/schnell --from black-forest-labs/FLUX.1-schnell";
    refused(&scumble(&desk, &fake, &with(SCHNELL_REPO)).await, 3, &[hint]);
    assert!(fake.asked().is_empty(), "nothing is fetched");
    let serve = format!("{SCHNELL}={SCHNELL_REPO}");
    let list = succeeded(&scumble(&desk, &fake, &["models", "list", "--weights", &serve]).await);
    let line = list.lines().find(|line| line.split_whitespace().next() == Some(SCHNELL)).unwrap();
    assert!(line.ends_with(&format!("Needs weights: {hint}")), "{line}");
    let doctor = ["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0", "--weights", &serve];
    refused(&scumble(&desk, &fake, &doctor).await, 3, &[]);
    succeeded(&scumble(&desk, &fake, &["models", "pull", SCHNELL]).await);
    // without the folder that it has made for itself
    std::fs::remove_dir_all(desk.path(".cache/huggingface/scumble")).unwrap();
    fake.asked();
    refused(&scumble(&desk, &fake, &DRAW).await, 3, &["scumble models pull"]);
    for weights in [SCHNELL_REPO, "black-forest-labs/FLUX.1-schnell@main"] {
        succeeded(&scumble(&desk, &fake, &with(weights)).await);
    }
    succeeded(&scumble(&desk, &fake, &doctor).await);
    let quantize = ["models", "quantize", SCHNELL, "--to", "q8_0", "--weights", SCHNELL_REPO, "-o", "x.gguf"];
    succeeded(&scumble(&desk, &fake, &quantize).await);
    refused(&scumble(&desk, &fake, &with("black-forest-labs/FLUX.1-schnell@v2")).await, 3, &["schnell@v2` fetches"]);
    assert!(fake.asked().is_empty(), "nobody was asked");
    // a folder of that name goes first
    std::fs::create_dir_all(desk.path(SCHNELL_REPO)).unwrap();
    refused(&scumble(&desk, &fake, &with(SCHNELL_REPO)).await, 3, &["model_index.json is missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_in_one_file_comes_with_the_rest_of_its_model() {
    let (desk, fake) = (Desk::new(), hub().await);
    let folder = tempfile::tempdir().unwrap();
    tiny::of(Variant::Schnell).write(folder.path());
    let file = folder.path().join("blocks.gguf");
    write_file(&file, Format::Gguf, &[Component::same(&load(folder.path(), "transformer"))]);
    let blocks = vec![("flux1-schnell-Q8_0.gguf".to_owned(), std::fs::read(&file).unwrap())];
    put(&fake, "city96/FLUX.1-schnell-gguf", &blocks);
    succeeded(&scumble(&desk, &fake, &["models", "pull", SCHNELL, "--variant", "q8_0"]).await);
    let came = far(&fake);
    assert!(came.iter().any(|path| path.contains("Q8_0.gguf")), "{came:?}");
    assert!(!came.iter().any(|path| path.contains("/transformer/diffusion")), "{came:?}");
    let drawn = succeeded(&scumble(&desk, &fake, &[&DRAW[..], &["-o", "star.png"]].concat()).await);
    assert!(drawn.contains("star.png"));
    let list = succeeded(&scumble(&desk, &fake, &["models", "list"]).await);
    assert!(list.contains("q8_0") && list.contains("runs on cpu"), "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_cleaned_up_is_told_and_fetched_again() {
    let (desk, fake) = (Desk::new(), hub().await);
    let folder = succeeded(&scumble(&desk, &fake, &["models", "pull", SCHNELL]).await).trim().to_owned();
    let blob = std::fs::canonicalize(Path::new(&folder).join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    std::fs::remove_file(blob).unwrap();
    let words = ["vae/diffusion_pytorch_model.safetensors is gone", "scumble models pull fal-ai/flux/schnell"];
    refused(&scumble(&desk, &fake, &DRAW).await, 3, &words);
    let list = succeeded(&scumble(&desk, &fake, &["models", "list"]).await);
    assert!(list.contains(words[0]), "{list}");
    let doctor = succeeded(&scumble(&desk, &fake, &["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0"]).await);
    assert!(doctor.lines().any(|line| line.starts_with("note") && line.contains(words[0])), "{doctor}");
    fake.asked();
    succeeded(&scumble(&desk, &fake, &["models", "pull", SCHNELL]).await);
    assert!(far(&fake).iter().all(|path| path.contains("/vae/")), "that alone");
    succeeded(&scumble(&desk, &fake, &[&DRAW[..], &["-o", "star.png"]].concat()).await);
}

/// A pull whose weights do not come any further.
async fn stuck(desk: &Desk, fake: &Fake) -> std::process::Child {
    fake.set(|world| world.always = Some(Fault::Hang(1000)));
    let mut command = command(desk, fake, &["models", "pull", SCHNELL]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !fake.set(|world| world.asked.iter().any(|asked| asked.far)) {
        tokio::task::yield_now().await;
    }
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_has_its_model_alone_until_its_process_ends() {
    let (desk, fake) = (Desk::new(), hub().await);
    let mut child = stuck(&desk, &fake).await;
    for args in
        [&["models", "remove", SCHNELL][..], &["models", "pull", SCHNELL], &["models", "pull", SCHNELL, "--tokenizers"]]
    {
        refused(
            &scumble(&desk, &fake, args).await,
            4,
            &["FLUX.1-schnell is being fetched or removed by another program"],
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let list = succeeded(&scumble(&desk, &fake, &["models", "list"]).await);
    assert!(list.contains("FLUX.1-schnell: begun"), "{list}");
    succeeded(&scumble(&desk, &fake, &["models", "remove", SCHNELL]).await);
    let none = scumble(&desk, &fake, &["models", "remove", SCHNELL]).await;
    refused(&none, 3, &["nothing was fetched"]);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn who_interrupts_a_pull_goes_on_later() {
    let (desk, fake) = (Desk::new(), hub().await);
    let child = stuck(&desk, &fake).await;
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let out = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    refused(&out, 130, &["the same command goes on"]);
    refused(&scumble(&desk, &fake, &DRAW).await, 3, &["scumble models pull"]);
    let list = succeeded(&scumble(&desk, &fake, &["models", "list"]).await);
    assert!(list.contains("FLUX.1-schnell: begun"), "{list}");
    fake.set(|world| world.always = None);
    succeeded(&scumble(&desk, &fake, &["models", "pull", SCHNELL]).await);
    succeeded(&scumble(&desk, &fake, &[&DRAW[..], &["-o", "star.png"]].concat()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_or_loaded_is_said_before_anything_comes() {
    let (desk, fake) = (Desk::new(), hub().await);
    for (args, code, words) in [
        (&["scumble/starter"][..], 2, &["in this program"][..]),
        (&["fal-ai/flux/schnel"], 2, &["fal-ai/flux/schnell"]),
        (&["fal-ai/ideogram/v2"], 2, &["closed model", "IDEOGRAM_API_KEY"]),
        (&[SCHNELL, "--variant", "q2_k"], 2, &["bf16, q8_0, fp8"]),
        (&[SCHNELL, "--variant", "bf16", "--tokenizers"], 2, &["cannot be used with"]),
    ] {
        refused(&scumble(&desk, &fake, &[&["models", "pull"], args].concat()).await, code, words);
    }
    assert!(fake.asked().is_empty());
    let mut broken = command(&desk, &fake, &["models", "pull", SCHNELL]);
    broken.env("HF_ENDPOINT", "ftp://hub.example");
    refused(&output(broken).await, 2, &["HF_ENDPOINT", "https://"]);
    let page = succeeded(&scumble(&desk, &fake, &["models", "show", "fal-ai/flux/dev"]).await);
    for word in ["Non-Commercial", "bf16", "33.7 GB", "q8_0", "city96/FLUX.1-dev-gguf"] {
        assert!(page.contains(word), "{word}: {page}");
    }
}
