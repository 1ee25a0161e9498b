//! Folders of models that were fetched: whole or not there, and gone with all that is theirs alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod fake;

#[cfg(unix)]
use std::io::Write as _;
use std::path::Path;
#[cfg(unix)]
use std::{sync::Arc, time::Duration};

use fake::{COMMIT, Fake};
use scumble_hub::{Cache, Client, Error, Fetching, Held, HeldFile, Hub, Models, Patience, RepoId, Source, Unwatched};

struct Desk {
    _folder: tempfile::TempDir,
    fetching: Fetching,
    models: Models,
}

impl Desk {
    async fn new() -> Self {
        let (fake, folder) = (Fake::new().await, tempfile::tempdir().unwrap());
        let weights = |seed: u8| (0..100_000).map(|at| (at as u8).wrapping_mul(seed)).collect::<Vec<_>>();
        fake.holds("own/model", &[("model_index.json", b"{}".to_vec()), ("t/w.safetensors", weights(3))]);
        fake.holds("other/encoder", &[("config.json", b"[]".to_vec()), ("w.safetensors", weights(5))]);
        let cache = Cache::new(folder.path().join("hub"));
        let client = Client::new(Hub::new(&fake.url, None).unwrap(), Patience::default());
        let fetching = Fetching { client, cache: cache.clone(), connections: 2, free: |_| Ok(None) };
        Self { models: Models::new(folder.path().join("scumble"), cache), _folder: folder, fetching }
    }

    /// All files of a repository, in the cache, below this folder of a model.
    async fn source(&self, name: &str, below: &str) -> Source {
        let id = RepoId::parse(name).unwrap();
        let listing = self.fetching.client.listing(&id, "main", &Unwatched).await.unwrap();
        let planned = self.fetching.plan(&listing, &listing.files, &Unwatched).await.unwrap();
        self.fetching.fetch(&planned, &Unwatched).await.unwrap();
        self.fetching.settle(&planned).unwrap();
        let file = |file: &scumble_hub::Remote| HeldFile {
            from: file.path.clone(),
            to: format!("{below}{}", file.path),
            etag: file.etag.clone(),
            bytes: file.size,
        };
        Source {
            repository: name.to_owned(),
            revision: "main".to_owned(),
            commit: COMMIT.to_owned(),
            licence: "MIT".to_owned(),
            files: planned.files.iter().map(file).collect(),
        }
    }

    async fn held(&self) -> Held {
        let sources = vec![self.source("own/model", "").await, self.source("other/encoder", "text_encoder_4/").await];
        Held { variant: "bf16".to_owned(), sources, ..Held::default() }
    }

    fn there(&self, repository: &str) -> bool {
        self.fetching.cache.repository(&RepoId::parse(repository).unwrap()).exists()
    }
}

#[tokio::test]
async fn a_model_is_one_folder_wherever_its_parts_come_from() {
    let desk = Desk::new().await;
    assert!(desk.models.find("Model").is_none());
    let held = desk.held().await;
    desk.models.begin("Model", &held).unwrap();
    let folder = desk.models.keep("Model", &held).unwrap();
    let whole = desk.models.find("Model").unwrap();
    assert_eq!((&whole.folder, &whole.held, whole.bytes()), (&folder, &held, 200_004));
    assert_eq!(whole.gone, Vec::<String>::new());
    assert_eq!(std::fs::read(folder.join("text_encoder_4/config.json")).unwrap(), b"[]");
    assert_eq!(std::fs::read(folder.join("t/w.safetensors")).unwrap().len(), 100_000);
    // and again over it
    let fewer = Held { variant: "fp16".to_owned(), sources: held.sources[..1].to_vec(), ..Held::default() };
    desk.models.keep("Model", &fewer).unwrap();
    let found = desk.models.find("Model").unwrap().held;
    assert_eq!(
        (&found.variant, &found.sources, &found.former[..]),
        (&fewer.variant, &fewer.sources, &held.sources[1..])
    );
    assert!(!folder.join("text_encoder_4").exists());
    let entries = std::fs::read_dir(folder.parent().unwrap()).unwrap().count();
    assert_eq!(entries, 1, "nothing else is left there");
    // what it was made of before goes with it
    assert!(desk.models.remove("Model", &[]).unwrap().unwrap() >= 200_000);
    assert!(!desk.there("own/model") && !desk.there("other/encoder"));
}

#[tokio::test]
async fn a_model_whose_files_are_gone_says_which_and_one_that_never_came_is_not_made() {
    let desk = Desk::new().await;
    let mut held = desk.held().await;
    desk.models.keep("Model", &held).unwrap();
    let blob = desk.fetching.cache.blob(&RepoId::parse("own/model").unwrap(), &held.sources[0].files[1].etag);
    std::fs::write(blob, b"short").unwrap();
    assert_eq!(desk.models.find("Model").unwrap().gone, ["t/w.safetensors"]);
    held.sources[0].files[0].from = "never.json".to_owned();
    assert!(desk.models.keep("Other", &held).is_err());
    assert!(desk.models.find("Other").is_none());
    for hostile in ["../x", "/x", "a/../../x"] {
        let mut held = held.clone();
        held.sources[0].files[0].from = "model_index.json".to_owned();
        held.sources[0].files[0].to = hostile.to_owned();
        assert!(desk.models.keep("Other", &held).is_err(), "{hostile}");
        assert!(desk.models.find(hostile).is_none());
    }
}

#[tokio::test]
async fn what_another_model_needs_stays_when_one_goes() {
    let desk = Desk::new().await;
    let held = desk.held().await;
    let encoder = Held { variant: "bf16".to_owned(), sources: held.sources[1..].to_vec(), ..Held::default() };
    desk.models.keep("Model", &held).unwrap();
    desk.models.keep("Other", &encoder).unwrap();
    let freed = desk.models.remove("Model", &["Other"]).unwrap().unwrap();
    assert!((100_000..110_000).contains(&freed), "{freed}");
    assert!(desk.models.find("Model").is_none() && desk.models.find("Other").unwrap().gone.is_empty());
    assert!(!desk.there("own/model") && desk.there("other/encoder"));
    assert!(desk.models.remove("Other", &["Model"]).unwrap().unwrap() >= 100_000);
    assert!(!desk.there("other/encoder"));
    assert_eq!(desk.models.remove("Other", &[]).unwrap(), None);
}

#[tokio::test]
async fn what_other_tools_keep_of_the_same_repository_stays() {
    let desk = Desk::new().await;
    let held = desk.held().await;
    desk.models.keep("Model", &held).unwrap();
    let id = RepoId::parse("own/model").unwrap();
    // an older commit of which somebody has the weights
    let older = desk.fetching.cache.snapshot(&id, &"f".repeat(40));
    std::fs::create_dir_all(&older).unwrap();
    let etag = &held.sources[0].files[1].etag;
    #[cfg(unix)]
    std::os::unix::fs::symlink(Path::new("../../blobs").join(etag), older.join("w.safetensors")).unwrap();
    desk.models.remove("Model", &[]).unwrap();
    assert_eq!(std::fs::read(older.join("w.safetensors")).unwrap().len(), 100_000);
    assert_eq!(desk.fetching.cache.commit(&id, "main"), None, "what is gone has no name");
}

#[tokio::test]
async fn what_was_begun_and_never_ended_can_be_removed() {
    let desk = Desk::new().await;
    // of one repository all has come
    let held = Held { sources: vec![desk.source("own/model", "").await], ..Held::default() };
    desk.models.begin("Model", &held).unwrap();
    assert!(desk.models.has_begun("Model") && desk.models.find("Model").is_none());
    let blobs = desk.fetching.cache.repository(&RepoId::parse("own/model").unwrap()).join("blobs");
    let part = format!("{}.scumble-part", "a".repeat(64));
    std::fs::write(blobs.join(&part), vec![1; 50_000]).unwrap();
    std::fs::write(blobs.join("b.incomplete"), b"another tool's").unwrap();
    let freed = desk.models.remove("Model", &[]).unwrap().unwrap();
    assert!(freed >= 150_000, "{freed}");
    assert!(!blobs.join(part).exists() && blobs.join("b.incomplete").exists());
}

#[tokio::test]
async fn who_fetches_a_model_has_it_alone() {
    let desk = Desk::new().await;
    let held = Held { sources: vec![desk.source("own/model", "").await], ..Held::default() };
    let claim = desk.models.claim("Model").unwrap();
    desk.models.begin("Model", &held).unwrap();
    for error in [desk.models.remove("Model", &[]).unwrap_err(), desk.models.claim("Model").unwrap_err()] {
        assert!(matches!(error, Error::Claimed { .. }) && error.is_of_system(), "{error}");
        assert!(error.to_string().contains("Model is being fetched or removed by another program"), "{error}");
    }
    assert!(desk.models.has_begun("Model"));
    assert_eq!(desk.models.remove("Other", &["Model"]).unwrap(), None, "another one is nobody's");
    let folder = desk.models.keep("Model", &held).unwrap();
    assert_eq!(desk.models.find("Model").unwrap().gone, Vec::<String>::new());
    drop(claim);
    assert!(desk.models.remove("Model", &[]).unwrap().unwrap() >= 100_000);
    #[cfg(unix)]
    assert_eq!(std::fs::read_dir(folder.parent().unwrap()).unwrap().count(), 0, "the claim leaves nothing");
}

#[tokio::test]
async fn what_comes_for_another_model_stays_when_one_goes() {
    let desk = Desk::new().await;
    let held = desk.held().await;
    desk.models.keep("Model", &held).unwrap();
    // another needs the encoder and one file more of that repository, which has come and has no link yet
    let mut coming = Held { sources: held.sources[1..].to_vec(), ..Held::default() };
    let etag = "b".repeat(64);
    let more =
        HeldFile { from: "more.safetensors".into(), to: "more.safetensors".into(), etag: etag.clone(), bytes: 9 };
    coming.sources[0].files.push(more);
    desk.models.begin("Other", &coming).unwrap();
    let blob = desk.fetching.cache.blob(&RepoId::parse("other/encoder").unwrap(), &etag);
    std::fs::write(&blob, [1; 9]).unwrap();
    desk.models.remove("Model", &["Other"]).unwrap().unwrap();
    assert!(!desk.there("own/model") && blob.is_file());
    desk.models.keep("Other", &Held { sources: held.sources[1..].to_vec(), ..Held::default() }).unwrap();
    desk.models.remove("Other", &["Model"]).unwrap().unwrap();
    assert!(!desk.there("other/encoder"), "and goes with the one that it came for");
}

/// What two models share goes while the second one counts on it, unless it waits until it knows what is left.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn who_begins_while_another_model_goes_waits_for_that() {
    let desk = Arc::new(Desk::new().await);
    let held = desk.held().await;
    let home = desk.models.keep("Model", &held).unwrap().parent().unwrap().to_owned();
    // the record of a third one is read as slowly as this test wants
    let record = home.join("Slow/fetched.json");
    std::fs::create_dir(home.join("Slow")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&record).status().unwrap().success());
    let blocking = |work: fn(&Desk) -> Option<u64>| {
        let desk = desk.clone();
        tokio::task::spawn_blocking(move || work(&desk))
    };
    let removal = blocking(|desk| desk.models.remove("Model", &["Other", "Slow"]).unwrap());
    let slow = tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(record).unwrap());
    // it opens when the removal reads it, which knows by then that nothing was begun of the other one
    let mut slow = slow.await.unwrap();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let coming = Held { sources: held.sources[1..].to_vec(), ..Held::default() };
    let (other, pulled) = (desk.clone(), coming.clone());
    let pull = tokio::task::spawn_blocking(move || {
        other.models.begin("Other", &pulled).unwrap();
        begun.send(()).unwrap();
    });
    assert!(has_begun.recv_timeout(Duration::from_millis(200)).is_err(), "it counts on what is being removed");
    slow.write_all(&serde_json::to_vec(&Held::default()).unwrap()).unwrap();
    drop(slow);
    assert!(removal.await.unwrap().unwrap() >= 200_000);
    pull.await.unwrap();
    // and then it fetches what it needs
    assert_eq!(desk.source("other/encoder", "text_encoder_4/").await, coming.sources[0]);
    desk.models.keep("Other", &coming).unwrap();
    assert_eq!(desk.models.find("Other").unwrap().gone, Vec::<String>::new());
}

/// They are found where they came from, stay while other models go, and go with their own.
#[tokio::test]
async fn tokenizers_that_were_fetched_alone_are_noted() {
    let desk = Desk::new().await;
    assert_eq!(desk.models.tokenizers("Model"), []);
    let held = desk.held().await;
    let [first, second] = [0, 1].map(|at| Held { sources: vec![held.sources[at].clone()], ..Held::default() });
    for held in [&first, &second, &second] {
        desk.models.note_tokenizers("Model", held).unwrap();
    }
    let noted = desk.models.tokenizers("Model");
    let sources: Vec<&Source> = noted.iter().map(|(source, _)| source).collect();
    assert_eq!(sources, [&second.sources[0], &first.sources[0]], "the last ones first, each once");
    assert!(noted.iter().all(|(source, folder)| folder.join(&source.files[0].from).is_file()), "{noted:?}");
    desk.models.keep("Other", &held).unwrap();
    desk.models.remove("Other", &["Model"]).unwrap();
    assert!(desk.there("own/model") && desk.there("other/encoder"));
    assert!(!desk.models.has_begun("Model") && desk.models.find("Model").is_none());
    assert!(desk.models.remove("Model", &["Other"]).unwrap().unwrap() >= 200_000);
    assert!(!desk.there("own/model") && !desk.there("other/encoder") && desk.models.tokenizers("Model").is_empty());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_not_taken_for_none() {
    let desk = Desk::new().await;
    let held = desk.held().await;
    let folder = desk.models.keep("Whole", &held).unwrap();
    desk.models.begin("Begun", &held).unwrap();
    let home = folder.parent().unwrap();
    let fine = std::fs::read_to_string(folder.join("fetched.json")).unwrap();
    let enormous = fine.replace("\"bytes\": 100000", &format!("\"bytes\": {}", u64::MAX));
    assert_ne!(fine, enormous);
    let record = home.join("Begun.begun");
    for (model, record, text) in [
        ("Begun", &record, ""),
        ("Begun", &record, "{\"variant\": \"bf1"),
        ("Whole", &folder.join("fetched.json"), ""),
        ("Whole", &folder.join("fetched.json"), &enormous),
    ] {
        let before = std::fs::read(record).unwrap();
        std::fs::write(record, text).unwrap();
        // another's too, since nobody knows then what that one needs
        let other = if model == "Begun" { "Whole" } else { "Begun" };
        let refusals = [desk.models.remove(model, &[]), desk.models.remove(other, &[model])];
        for error in refusals.into_iter().map(Result::unwrap_err).chain(desk.models.damage(model)) {
            let said = error.to_string();
            assert!(matches!(error, Error::Record { .. }), "{said}");
            assert!(said.contains(&record.display().to_string()) && said.contains("Delete it and pull"), "{said}");
        }
        if model == "Begun" {
            assert!(desk.models.begin(model, &held).is_err(), "what it named would be lost");
        }
        assert!(desk.there("own/model") && desk.there("other/encoder"), "nothing is removed");
        std::fs::write(record, before).unwrap();
        assert!(desk.models.damage(model).is_none());
    }
    // as the message says
    std::fs::remove_file(&record).unwrap();
    desk.models.begin("Begun", &held).unwrap();
    assert_eq!(desk.models.remove("Begun", &["Whole"]).unwrap(), Some(0));
    assert!(desk.models.remove("Whole", &["Begun"]).unwrap().unwrap() >= 200_000);
}

#[cfg(unix)]
#[tokio::test]
async fn a_record_is_replaced_and_never_written_over() {
    let desk = Desk::new().await;
    let held = desk.held().await;
    let first = Held { sources: held.sources[..1].to_vec(), ..Held::default() };
    desk.models.begin("Model", &first).unwrap();
    let home = desk.fetching.cache.root().with_file_name("scumble");
    let path = home.join("Model.begun");
    let before = std::fs::read_to_string(&path).unwrap();
    let open = std::fs::File::open(&path).unwrap();
    desk.models.begin("Model", &held).unwrap();
    assert_eq!(std::io::read_to_string(open).unwrap(), before, "who reads it meanwhile has all of it");
    assert_ne!(std::fs::read_to_string(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 1);
}

#[tokio::test]
async fn where_models_cannot_be_kept_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"no folder").unwrap();
    let error = Models::new(file.join("scumble"), Cache::new(file.join("hub"))).claim("Model").unwrap_err();
    assert!(matches!(error, Error::Unwritable { .. }) && error.to_string().contains("cannot be written: "), "{error}");
}
