//! What was downloaded, kept in one folder: a file for each version of an adapter, and beside it what is known of it.
//!
//! - A file gets its name when all of it is there and on the disk. What is on its way has another name and a lock; a part
//!   without a lock was left behind by a process that is gone, and goes.
//! - Whoever uses a file holds a lock on it, in this process or another, and a file with a lock is not removed.
//! - There is a limit on all of them together, with what is on its way: those that were not used for longest go first.
//! - What came inside an input is here for as long as somebody uses it, and not known to anybody else.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use scumble_fetch::Version;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::format::Format;
use super::part::{Part, random, unwritten};
use super::room::Room;
use super::trouble::Trouble;

pub(super) const META: &str = "meta";
pub(super) const PART: &str = "part";

/// The folder, and who is busy with what in it.
pub(super) struct Cache {
    room: Arc<Room>,
    turns: Mutex<HashMap<String, Weak<Turn>>>,
}

/// Whose turn it is to download one file: the others wait for what comes of it.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) busy: tokio::sync::Mutex<()>,
    /// How many have failed, and why the last did.
    pub(super) failed: Mutex<(u64, Option<Trouble>)>,
}

/// A file that stays for as long as this is held.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) path: PathBuf,
    _hold: Arc<Hold>,
}

#[derive(Debug)]
struct Hold {
    _lock: File,
    /// What goes with the last who holds it.
    _passing: Option<Part>,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) version: Option<Version>,
    /// When its host was asked last.
    pub(super) checked_ms: u64,
}

/// The name of what is at this address.
pub(super) fn key(address: &str) -> String {
    let digest = Sha256::digest(address.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Cache {
    /// `limit` is what all files may take together, `floor` what stays free on the disk, in bytes.
    pub(super) fn new(folder: PathBuf, limit: u64, floor: u64) -> Self {
        Self { room: Arc::new(Room::new(folder, limit, floor)), turns: Mutex::default() }
    }

    /// The turn for this key, shared by all who want it now.
    pub(super) fn turn(&self, key: &str) -> Arc<Turn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::<Turn>::default();
        turns.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// The file of this key, locked for its user; none where there is none, or it is not whole.
    pub(super) fn find(&self, key: &str) -> Option<(Known, Held)> {
        let meta = meta(&self.room.folder, key);
        let known = Known::read(&meta)?;
        let path = self.room.folder.join(&known.file);
        let file = File::open(&path).ok()?;
        // somebody is about to remove it
        if matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            return None;
        }
        let is_whole = file.metadata().is_ok_and(|found| found.len() == known.bytes) && path.exists();
        if !is_whole {
            let _ = fs::remove_file(&path);
            return None;
        }
        if let Ok(meta) = File::options().write(true).open(&meta) {
            let _ = meta.set_modified(SystemTime::now());
        }
        Some((known, held(path, file, None)))
    }

    /// A new part, with room for so many bytes, as far as that is known.
    pub(super) async fn begin(&self, announced: Option<u64>) -> Result<Part, Trouble> {
        let room = self.room.clone();
        let begun = tokio::task::spawn_blocking(move || Part::begin(&room, announced)).await;
        begun.unwrap_or_else(|error| Err(unwritten(&error.into())))
    }

    /// Gives a part its name. It is flushed first: after a power cut there is all of it, or nothing.
    pub(super) async fn keep(
        &self,
        key: &str,
        mut part: Part,
        format: Format,
        version: Option<Version>,
    ) -> Result<Held, Trouble> {
        let file = part.synced().await?;
        let (key, room) = (key.to_owned(), self.room.clone());
        let kept = tokio::task::spawn_blocking(move || -> io::Result<Held> {
            let name = match &version {
                Some(Version::Tag(text) | Version::Date(text)) => self::key(text)[..16].to_owned(),
                None => format!("{:016x}", random()),
            };
            let name = format!("{key}-{name}.{}", format.extension());
            let (path, meta) = (room.folder.join(&name), meta(&room.folder, &key));
            let sweeping = room.sweeping();
            let before = Known::read(&meta).filter(|before| before.file != name);
            // readers lock it together; writers had it alone
            let _ = file.try_lock_shared();
            fs::rename(&part.path, &path)?;
            Known { file: name, bytes: part.written(), version, checked_ms: now_ms() }.write(&meta)?;
            room.kept(&sweeping, part, before.as_ref());
            Ok(held(path, file, None))
        });
        let kept = kept.await.unwrap_or_else(|error| Err(error.into()));
        kept.map_err(|e| unwritten(&e))
    }

    /// Lends a part to those who hold it; it goes with the last of them.
    pub(super) async fn lend(&self, mut part: Part, format: Format) -> Result<Held, Trouble> {
        let file = part.synced().await?;
        let _ = file.try_lock_shared();
        let path = part.path.with_extension(format.extension());
        tokio::fs::rename(&part.path, &path).await.map_err(|e| unwritten(&e))?;
        part.path.clone_from(&path);
        Ok(held(path, file, Some(part)))
    }

    /// Notes that the host has been asked, and that nothing has changed.
    pub(super) fn checked(&self, key: &str, known: &Known) {
        let known = Known { checked_ms: now_ms(), ..known.clone() };
        if let Err(error) = known.write(&meta(&self.room.folder, key)) {
            tracing::warn!(%error, "what is known of a downloaded adapter cannot be written");
        }
    }
}

fn held(path: PathBuf, lock: File, passing: Option<Part>) -> Held {
    Held { path, _hold: Arc::new(Hold { _lock: lock, _passing: passing }) }
}

fn meta(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.{META}"))
}

impl Known {
    pub(super) fn read(meta: &Path) -> Option<Self> {
        let value: Value = serde_json::from_slice(&fs::read(meta).ok()?).ok()?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let file = text("file").filter(|file| !file.contains(['/', '\\']))?;
        let version = text("tag").map(Version::Tag).or_else(|| text("date").map(Version::Date));
        Some(Self { file, bytes: value["bytes"].as_u64()?, version, checked_ms: value["checked_ms"].as_u64()? })
    }

    fn write(&self, meta: &Path) -> io::Result<()> {
        let Self { file, bytes, version, checked_ms } = self;
        let mut value = json!({ "file": file, "bytes": bytes, "checked_ms": checked_ms });
        match version {
            Some(Version::Tag(tag)) => value["tag"] = tag.as_str().into(),
            Some(Version::Date(date)) => value["date"] = date.as_str().into(),
            None => {}
        }
        let aside = meta.with_extension(format!("{:016x}.{PART}", random()));
        fs::write(&aside, value.to_string())?;
        fs::rename(&aside, meta)
    }
}
