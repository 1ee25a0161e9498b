//! Files that come from a hub on loopback: who may, how much, and what happens when it goes wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod fake;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fake::{COMMIT, Door, Fake, Fault, sha256};
use scumble_hub::{Cache, Client, Error, Fetching, Hub, Listing, Patience, Planned, RepoId, Unwatched, Watch, total};
use tokio::sync::Notify;

const NAME: &str = "owner/model";
/// More than one piece for each of the connections here.
const LARGE: usize = 9 * 1024 * 1024 + 5;
const QUICK: Patience = Patience {
    tries: 4,
    first: Duration::ZERO,
    longest: Duration::ZERO,
    refused: Duration::ZERO,
    silence: Duration::from_secs(20),
};

fn id() -> RepoId {
    RepoId::parse(NAME).unwrap()
}

/// Bytes that repeat nowhere near.
fn weights(length: usize, seed: u32) -> Vec<u8> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    };
    std::iter::repeat_with(|| 0).scan(seed, |state, _: u8| next(state)).take(length).collect()
}

struct Desk {
    fake: Fake,
    folder: tempfile::TempDir,
    fetching: Fetching,
}

impl Desk {
    async fn new() -> Self {
        Self::with(None, QUICK).await
    }

    async fn with(token: Option<&str>, patience: Patience) -> Self {
        let (fake, folder) = (Fake::new().await, tempfile::tempdir().unwrap());
        fake.holds(NAME, &[("config.json", b"{}\n".to_vec()), ("a/w.safetensors", weights(LARGE, 1))]);
        let client = Client::new(Hub::new(&fake.url, token).unwrap(), patience);
        let cache = Cache::new(folder.path().join("hub"));
        let fetching = Fetching { client, cache, connections: 3, free: |_| Ok(None) };
        Self { fake, folder, fetching }
    }

    async fn listing(&self) -> Result<Listing, Error> {
        self.fetching.client.listing(&id(), "main", &Unwatched).await
    }

    async fn plan(&self) -> Result<Planned, Error> {
        let listing = self.listing().await?;
        self.fetching.plan(&listing, &listing.files, &Unwatched).await
    }

    async fn fetch(&self) -> Result<(), Error> {
        let planned = self.plan().await?;
        self.fetching.fetch(&planned, &Unwatched).await?;
        self.fetching.settle(&planned)
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.fetching.cache.snapshot(&id(), COMMIT).join(path)).ok()
    }

    /// Names of all files below the cache but locks.
    fn all(&self) -> Vec<String> {
        fn collect(folder: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    collect(&path, found);
                } else {
                    found.push(path.display().to_string());
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.fetching.cache.repository(&id()), &mut found);
        found
    }

    #[track_caller]
    fn is_right(&self) {
        assert_eq!(self.file("config.json").unwrap(), b"{}\n");
        assert!(self.file("a/w.safetensors").unwrap() == weights(LARGE, 1));
        let blobs = self.all().into_iter().filter(|path| path.contains("/blobs/")).count();
        assert_eq!(blobs, 2, "nothing is left of the way: {:?}", self.all());
    }

    /// Nothing that anybody would take for the large file.
    #[track_caller]
    fn has_none(&self) {
        assert_eq!(self.file("a/w.safetensors"), None);
        assert!(!self.fetching.cache.blob(&id(), &sha256(&weights(LARGE, 1))).exists());
        assert_eq!(self.fetching.cache.commit(&id(), "main"), None);
    }

    fn far(&self) -> Vec<fake::Asked> {
        self.fake.asked().into_iter().filter(|asked| asked.far).collect()
    }
}

#[tokio::test]
async fn files_come_in_ranges_over_several_connections_and_once() {
    let desk = Desk::new().await;
    let planned = desk.plan().await.unwrap();
    let all = LARGE as u64 + 3;
    assert_eq!((planned.bytes().unwrap(), desk.fetching.missing(&planned).unwrap()), (all, all));
    desk.fetch().await.unwrap();
    desk.is_right();
    let ranges: Vec<_> = desk.far().into_iter().map(|asked| asked.range.unwrap()).collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert_eq!(desk.fetching.cache.commit(&id(), "main").as_deref(), Some(COMMIT));
    #[cfg(unix)]
    {
        let link = std::fs::read_link(desk.fetching.cache.snapshot(&id(), COMMIT).join("a/w.safetensors")).unwrap();
        assert_eq!(link, Path::new("../../../blobs").join(sha256(&weights(LARGE, 1))));
    }
    let planned = desk.plan().await.unwrap();
    assert_eq!(desk.fetching.missing(&planned).unwrap(), 0);
    desk.fetch().await.unwrap();
    assert_eq!(desk.far().len(), 0, "what is here is not fetched again");
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_not_to_where_it_redirects() {
    let desk = Desk::with(Some("s3cret"), QUICK).await;
    desk.fake.repo(NAME, |repo| repo.door = Door::Gated("s3cret"));
    desk.fetch().await.unwrap();
    desk.is_right();
    let asked = desk.fake.asked();
    let (far, near): (Vec<_>, Vec<_>) = asked.into_iter().partition(|asked| asked.far);
    assert!(near.iter().all(|asked| asked.authorization.as_deref() == Some("Bearer s3cret")), "{near:?}");
    assert!(!far.is_empty() && far.iter().all(|asked| asked.authorization.is_none()), "{far:?}");
}

#[tokio::test]
async fn who_has_not_accepted_a_licence_is_told_where_and_with_what() {
    for (token, words) in [(None, "set HF_TOKEN to a token"), (Some("other"), "the account whose token HF_TOKEN holds")]
    {
        let desk = Desk::with(token, QUICK).await;
        desk.fake.repo(NAME, |repo| repo.door = Door::Gated("s3cret"));
        assert!(desk.listing().await.unwrap().is_gated);
        desk.fake.asked();
        let error = desk.fetch().await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, Error::Gated { .. }), "{said}");
        assert!(said.contains(words) && said.contains(&format!("{}/{NAME}", desk.fake.url)), "{said}");
        assert_eq!(desk.fake.asked().len(), 2, "one is asked for, not each of them");
        desk.has_none();
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let desk = Desk::new().await;
    let ask = async |name: &str, revision: &str| {
        let id = RepoId::parse(name).unwrap();
        desk.fetching.client.listing(&id, revision, &Unwatched).await.unwrap_err().to_string()
    };
    let said = ask("owner/gone", "main").await;
    assert!(said.contains("no repository owner/gone") && said.contains("HF_TOKEN"), "{said}");
    let said = ask(NAME, "v9").await;
    assert!(said.contains("no revision \"v9\""), "{said}");
    let listing = desk.listing().await.unwrap();
    let said = desk.fetching.plan(&listing, &["b.json".to_owned()], &Unwatched).await.unwrap_err().to_string();
    assert!(said.contains("no file b.json"), "{said}");
}

#[tokio::test]
async fn a_repository_that_was_renamed_is_found() {
    let desk = Desk::new().await;
    desk.fake.repo("old/name", |repo| repo.moved_to = Some(NAME.to_owned()));
    let old = RepoId::parse("old/name").unwrap();
    let listing = desk.fetching.client.listing(&old, "main", &Unwatched).await.unwrap();
    let planned = desk.fetching.plan(&listing, &["config.json".to_owned()], &Unwatched).await.unwrap();
    desk.fetching.fetch(&planned, &Unwatched).await.unwrap();
    let path = desk.fetching.cache.snapshot(&old, COMMIT).join("config.json");
    assert_eq!(std::fs::read(path).unwrap(), b"{}\n", "under the name that was asked for");
}

#[tokio::test]
async fn hosts_that_want_to_be_left_alone_are_asked_again_and_not_for_ever() {
    let desk = Desk::new().await;
    let busy = Fault::Status(429, Some("0"));
    desk.fake.set(|world| {
        world.near.extend([busy.clone(), Fault::Status(503, None), Fault::None, busy.clone()]);
        world.far.extend([busy.clone(), Fault::Status(500, None)]);
    });
    desk.fetch().await.unwrap();
    desk.is_right();

    let desk = Desk::new().await;
    desk.fake.set(|world| world.always = Some(busy));
    let error = desk.fetch().await.unwrap_err();
    assert!(matches!(error, Error::TooMany { .. }), "{error}");
    desk.has_none();
}

#[tokio::test]
async fn a_cut_connection_goes_on_where_it_was() {
    let desk = Desk::new().await;
    desk.fake.set(|world| world.far.extend(vec![Fault::Cut(1_000_000); 5]));
    desk.fetch().await.unwrap();
    desk.is_right();
    let starts: Vec<u64> = desk.far().iter().map(|asked| begin(asked.range.as_deref())).collect();
    // a rest that is shorter than what comes before a cut is not cut
    let further: Vec<_> = starts.iter().filter(|start| **start % 4_194_304 != 0).collect();
    assert!(starts.len() == 3 + further.len() && (4..=5).contains(&further.len()), "{starts:?}");
}

fn begin(range: Option<&str>) -> u64 {
    range.unwrap().strip_prefix("bytes=").unwrap().split('-').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_host_that_brings_nothing_is_given_up() {
    for fault in [Fault::Cut(0), Fault::Status(502, None)] {
        let desk = Desk::new().await;
        desk.fake.set(|world| world.always = Some(fault.clone()));
        let error = desk.fetch().await.unwrap_err();
        assert!(matches!(error, Error::Broken { tries: 4, .. }), "{fault:?}: {error}");
        assert!(error.to_string().contains("goes on with what is here"), "{error}");
        desk.has_none();
    }
}

#[tokio::test]
async fn a_silent_host_is_given_up_and_what_it_sent_stays() {
    let patience = Patience { silence: Duration::from_millis(200), tries: 2, ..QUICK };
    let mut desk = Desk::with(None, patience).await;
    desk.fake.set(|world| world.always = Some(Fault::Hang(0)));
    let error = desk.fetch().await.unwrap_err();
    assert!(matches!(error, Error::Broken { tries: 2, .. }), "{error}");
    desk.has_none();
    desk.fake.set(|world| world.always = None);
    desk.fetching.client = Client::new(Hub::new(&desk.fake.url, None).unwrap(), QUICK);
    desk.fetch().await.unwrap();
    desk.is_right();
}

/// Tells when so many bytes have come.
struct Counter {
    come: AtomicU64,
    enough: u64,
    told: Notify,
}

impl Watch for Counter {
    fn begin(&self, _: u64, _: u64) {}
    fn come(&self, bytes: u64) {
        if self.come.fetch_add(bytes, Ordering::SeqCst) + bytes >= self.enough {
            self.told.notify_one();
        }
    }
    fn lost(&self, _: u64) {}
    fn checking(&self, _: &str) {}
    fn say(&self, _: &str) {}
}

#[tokio::test]
async fn who_stops_in_between_goes_on_later_with_what_is_missing() {
    let mut desk = Desk::new().await;
    let planned = desk.plan().await.unwrap();
    // one piece comes, and the half of another
    desk.fetching.connections = 1;
    desk.fake.set(|world| world.far.push_back(Fault::Hang(6_000_000)));
    // the small file has come by then, or not
    let counter = Counter { come: AtomicU64::new(0), enough: 5 * 1024 * 1024, told: Notify::new() };
    tokio::select! {
        done = desk.fetching.fetch(&planned, &counter) => panic!("it has come whole: {done:?}"),
        () = counter.told.notified() => {}
    }
    desk.has_none();
    desk.fake.asked();
    let planned = desk.plan().await.unwrap();
    let missing = desk.fetching.missing(&planned).unwrap();
    let weights = LARGE as u64 - 4_194_304;
    assert!((weights..=weights + 3).contains(&missing), "{missing}");
    let all = Counter { come: AtomicU64::new(0), enough: u64::MAX, told: Notify::new() };
    desk.fetching.fetch(&planned, &all).await.unwrap();
    desk.is_right();
    assert_eq!(all.come.load(Ordering::SeqCst), missing, "and no more than that");
    assert_eq!(desk.far().len(), 1);
}

#[tokio::test]
async fn a_host_that_gives_out_whole_files_is_taken_as_it_is() {
    let desk = Desk::new().await;
    desk.fake.set(|world| {
        world.no_ranges = true;
        // the first three are the runs of pieces
        world.far.extend([Fault::None, Fault::None, Fault::None, Fault::Cut(5000)]);
    });
    desk.fetch().await.unwrap();
    desk.is_right();
}

#[tokio::test]
async fn pieces_of_two_versions_are_not_put_together() {
    let desk = Desk::new().await;
    desk.fake.set(|world| world.far.extend([Fault::None, Fault::Version("two")]));
    desk.fetch().await.unwrap();
    desk.is_right();
}

#[tokio::test]
async fn an_address_that_has_ended_is_asked_for_anew() {
    let desk = Desk::new().await;
    desk.fake.set(|world| world.far.extend([Fault::Status(403, None), Fault::Cut(1000), Fault::Status(403, None)]));
    desk.fetch().await.unwrap();
    desk.is_right();
    let heads =
        desk.fake.asked().iter().filter(|asked| asked.method == "HEAD" && asked.path.contains("w.safe")).count();
    assert_eq!(heads, 3, "the plan's, and one for each address that had ended");
}

#[tokio::test]
async fn other_bytes_than_the_publishers_never_get_a_name() {
    // once: it is fetched again; a hundred times: it is given up
    let desk = Desk::new().await;
    desk.fake.set(|world| world.far.push_back(Fault::Corrupt));
    desk.fetch().await.unwrap();
    desk.is_right();

    let desk = Desk::new().await;
    desk.fake.set(|world| world.always = Some(Fault::Corrupt));
    let (planned, ear) = (desk.plan().await.unwrap(), Ear::default());
    let error = desk.fetching.fetch(&planned, &ear).await.unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    let said = ear.said.lock().unwrap().clone();
    assert_eq!(said.iter().filter(|said| said.contains("fetched once more")).count(), 1, "and once it is: {said:?}");
    desk.has_none();
    assert!(!desk.all().iter().any(|path| path.contains("scumble-p")), "{:?}", desk.all());

    // small files have checksums too
    let desk = Desk::new().await;
    desk.fake.repo(NAME, |repo| repo.etag = Some("ffffffffffffffffffffffffffffffffffffffff"));
    let listing = desk.listing().await.unwrap();
    let planned = desk.fetching.plan(&listing, &["config.json".to_owned()], &Unwatched).await.unwrap();
    assert!(matches!(desk.fetching.fetch(&planned, &Unwatched).await, Err(Error::Checksum { .. })));
    assert_eq!(desk.file("config.json"), None);
}

#[tokio::test]
async fn more_than_was_announced_is_not_written() {
    let desk = Desk::new().await;
    desk.fake.set(|world| world.always = Some(Fault::Longer(10_000_000)));
    let error = desk.fetch().await.unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
    desk.has_none();

    // and what says of itself to be shorter than it is, is not what was announced
    let desk = Desk::new().await;
    desk.fake.repo(NAME, |repo| repo.size = Some(1000));
    let error = desk.fetch().await.unwrap_err();
    desk.has_none();
    let largest = desk.all().iter().map(|path| std::fs::metadata(path).unwrap().len()).max();
    assert!(largest <= Some(1000), "{error}: {largest:?}");
    assert!(!error.to_string().contains("give a smaller one"), "nobody gave a file: {error}");

    // nor is a list read that does not end
    let desk = Desk::new().await;
    desk.fake.set(|world| world.near.push_back(Fault::Longer(17_000_000)));
    let said = desk.listing().await.unwrap_err().to_string();
    assert_eq!(
        said,
        "the hub's answer about the list of owner/model cannot be used: it is larger than 16777216 bytes, which is the \
         most that it may be"
    );
}

#[tokio::test]
async fn lengths_that_no_disk_holds_are_refused_and_not_added_up() {
    let desk = Desk::new().await;
    desk.fake.repo(NAME, |repo| repo.size = Some(1 << 63));
    let planned = desk.plan().await.unwrap();
    for error in [planned.bytes().unwrap_err(), desk.fetching.missing(&planned).unwrap_err()] {
        assert!(matches!(error, Error::Nonsense { .. }), "{error}");
        assert!(error.to_string().contains("longer than any disk"), "{error}");
    }
    // of several repositories each may be possible
    assert_eq!(total([Ok(1), Ok(u64::MAX - 1)]).unwrap(), u64::MAX);
    assert!(total([Ok(2), Ok(u64::MAX - 1)]).is_err());
}

#[tokio::test]
async fn a_hub_that_nobody_answers_at_is_named_with_its_port() {
    let closed = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let client = Client::new(Hub::new(&format!("http://{closed}"), None).unwrap(), QUICK);
    let error = client.listing(&id(), "main", &Unwatched).await.unwrap_err();
    assert!(matches!(error, Error::Broken { tries: 1, .. }), "{error}");
    assert!(error.to_string().contains(&format!("http://{closed} does not accept connections")), "{error}");
}

/// Where nobody may write, root neither.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_cache_that_cannot_be_written_is_not_said_to_be_full() {
    let mut desk = Desk::new().await;
    desk.fetching.cache = Cache::new("/proc/scumble/hub");
    desk.fetching.free = |_| Ok(Some(0));
    let error = desk.fetching.check_room(1).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, Error::Unwritable { .. }) && error.is_of_system(), "{said}");
    assert!(said.starts_with("/proc/scumble/hub cannot be written: ") && said.contains("HF_HOME"), "{said}");
    assert!(desk.fetching.check_room(0).is_ok(), "who has all of it writes nothing");
}

#[tokio::test]
async fn what_finds_no_room_is_not_begun() {
    let mut desk = Desk::new().await;
    let planned = desk.plan().await.unwrap();
    desk.fetching.free = |_| Ok(Some(268_435_456 + 1_000_000));
    let missing = desk.fetching.missing(&planned).unwrap();
    let error = desk.fetching.check_room(missing).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, Error::Space { needed, .. } if needed == LARGE as u64 + 3), "{said}");
    assert!(said.contains("9.4 MB are to come") && said.contains("HF_HOME"), "{said}");
    assert!(desk.fetching.check_room(0).is_ok(), "nothing needs no room");
    assert!(desk.far().is_empty() && !desk.folder.path().join("hub").exists());
    desk.fetching.free = |_| Ok(Some(u64::MAX));
    assert!(desk.fetching.check_room(missing).is_ok());
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    for hostile in ["../../evil.json", "/etc/evil", "a/../../evil", "a\\..\\evil", "C:/evil", "a//b", "x\u{0}y"] {
        let desk = Desk::new().await;
        desk.fake.repo(NAME, |repo| repo.hostile = vec![hostile.to_owned()]);
        let error = desk.fetch().await.unwrap_err();
        assert!(matches!(error, Error::Hostile { .. }), "{hostile}: {error}");
        assert!(desk.all().is_empty());
    }
    for etag in ["../../../evil", "", "0", "ABCDEF0123456789ABCDEF0123456789ABCDEF01", "%2e%2e%2f"] {
        let desk = Desk::new().await;
        desk.fake.repo(NAME, |repo| repo.etag = Some(etag));
        let error = desk.fetch().await.unwrap_err();
        assert!(matches!(error, Error::Nonsense { .. }), "{etag}: {error}");
        assert!(desk.all().is_empty());
    }
}

/// Hears sentences.
#[derive(Default)]
struct Ear {
    said: Mutex<Vec<String>>,
    told: Notify,
}

impl Watch for Ear {
    fn begin(&self, _: u64, _: u64) {}
    fn come(&self, _: u64) {}
    fn lost(&self, _: u64) {}
    fn checking(&self, _: &str) {}
    fn say(&self, sentence: &str) {
        self.said.lock().unwrap().push(sentence.to_owned());
        self.told.notify_one();
    }
}

#[tokio::test]
async fn two_programs_fetch_a_file_once() {
    let desk = Desk::new().await;
    let planned = desk.plan().await.unwrap();
    desk.fake.asked();
    // as Python's filelock takes it
    let etag = sha256(&weights(LARGE, 1));
    let lock = desk.fetching.cache.root().join(".locks/models--owner--model").join(format!("{etag}.lock"));
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let held = std::fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let ear = Ear::default();
    let other = async {
        ear.told.notified().await;
        assert!(ear.said.lock().unwrap()[0].contains("another program"));
        let blob = desk.fetching.cache.blob(&id(), &etag);
        std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
        std::fs::write(blob, weights(LARGE, 1)).unwrap();
        drop(held);
    };
    let (fetched, ()) = tokio::join!(desk.fetching.fetch(&planned, &ear), other);
    fetched.unwrap();
    desk.is_right();
    assert_eq!(desk.far().len(), 0);
}
