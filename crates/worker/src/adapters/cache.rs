//! What was downloaded, kept in one folder: a file for each version of an adapter, and beside it what is known of it.
//!
//! - A file gets its name when all of it is there and on the disk. What is on its way has another name and a lock; a part
//!   without a lock was left behind by a process that is gone, and goes.
//! - Whoever uses a file holds a lock on it, in this process or another, and a file with a lock is not removed.
//! - There is a limit on all of them together: those that were not used for longest go first.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scumble_fetch::Version;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::format::Format;
use super::trouble::Trouble;

const META: &str = "meta";
const PART: &str = "part";

/// The folder, and who is busy with what in it.
pub(super) struct Cache {
    pub(super) folder: PathBuf,
    /// Bytes of all files together.
    limit: u64,
    /// Bytes that stay free on the disk.
    floor: u64,
    /// One at a time removes what is old.
    sweeping: Mutex<()>,
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
    _lock: Arc<File>,
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

/// A file on its way; removed when this goes, unless it is kept.
pub(super) struct Part {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    written: u64,
    /// How much may be written before the disk is looked at again.
    unchecked: u64,
    floor: u64,
}

/// A part is not looked at before it is so old: its maker may be about to lock it, or to give it its name.
const YOUNG: Duration = Duration::from_secs(60);

fn is_old(found: &fs::Metadata) -> bool {
    let age = found.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age > YOUNG)
}

/// So much is written before the disk is looked at again.
const GLANCE: u64 = 16 * 1024 * 1024;

/// The name of what is at this address.
pub(super) fn key(address: &str) -> String {
    digest(address.as_bytes())
}

/// The name of these bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Cache {
    pub(super) fn new(folder: PathBuf, limit: u64, floor: u64) -> Self {
        Self { folder, limit, floor, sweeping: Mutex::default(), turns: Mutex::default() }
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
        let meta = self.meta(key);
        let known = Known::read(&meta)?;
        let path = self.folder.join(&known.file);
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
        Some((known, Held { path, _lock: Arc::new(file) }))
    }

    /// A new part, with room for so many bytes, as far as that is known.
    pub(super) fn begin(&self, announced: Option<u64>) -> Result<Part, Trouble> {
        private_folder(&self.folder).map_err(|e| unwritten(&e))?;
        let announced = announced.unwrap_or(0);
        self.make_room(announced);
        check_space(&self.folder, self.floor.saturating_add(announced))?;
        let path = self.folder.join(format!("{:016x}.{PART}", random()));
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|e| unwritten(&e))?;
        let _ = file.try_lock();
        let file = Some(tokio::fs::File::from_std(file));
        Ok(Part { path, file, written: 0, unchecked: GLANCE, floor: self.floor })
    }

    /// Gives a part its name. It is flushed first: after a power cut there is all of it, or nothing.
    pub(super) async fn keep(
        &self,
        key: &str,
        mut part: Part,
        format: Format,
        version: Option<Version>,
    ) -> Result<Held, Trouble> {
        let Some(mut file) = part.file.take() else { return Err(unwritten(&io::Error::other("it is gone"))) };
        let flushed = async {
            file.flush().await?;
            file.sync_all().await
        };
        flushed.await.map_err(|e| unwritten(&e))?;
        let file = file.into_std().await;
        self.make_room(0);
        let name = match &version {
            Some(Version::Tag(text) | Version::Date(text)) => self::key(text)[..16].to_owned(),
            None => format!("{:016x}", random()),
        };
        let name = format!("{key}-{name}.{}", format.extension());
        let path = self.folder.join(&name);
        let before = Known::read(&self.meta(key)).map(|known| known.file);
        let named = || -> io::Result<()> {
            // readers lock it together; writers had it alone
            let _ = file.try_lock_shared();
            fs::rename(&part.path, &path)?;
            let known = Known { file: name.clone(), bytes: part.written, version, checked_ms: now_ms() };
            known.write(&self.meta(key))
        };
        named().map_err(|e| unwritten(&e))?;
        if let Some(before) = before.filter(|before| *before != name) {
            self.remove_unused(&self.folder.join(before));
        }
        Ok(Held { path, _lock: Arc::new(file) })
    }

    /// Notes that the host has been asked, and that nothing has changed.
    pub(super) fn checked(&self, key: &str, known: &Known) {
        let known = Known { checked_ms: now_ms(), ..known.clone() };
        if let Err(error) = known.write(&self.meta(key)) {
            tracing::warn!(%error, "what is known of a downloaded adapter cannot be written");
        }
    }

    /// Removes what was left behind, and what was not used for longest, until so many more bytes are within the limit.
    fn make_room(&self, more: u64) {
        let _sweeping = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let (mut sizes, mut metas) = (HashMap::new(), Vec::new());
        for entry in entries.flatten() {
            let (path, Ok(found)) = (entry.path(), entry.metadata()) else { continue };
            match path.extension().and_then(|end| end.to_str()) {
                Some(META) => metas.push((found.modified().unwrap_or(UNIX_EPOCH), path)),
                // its maker is gone
                Some(PART) if is_old(&found) && self.remove_unused(&path) => {}
                _ => drop(sizes.insert(path, found.len())),
            }
        }
        metas.sort_unstable();
        let used: Vec<(PathBuf, PathBuf)> = metas
            .into_iter()
            .filter_map(|(_, meta)| Some((self.folder.join(Known::read(&meta)?.file), meta)))
            .collect();
        let mut total: u64 = sizes.values().sum();
        // versions that nobody knows any more go first, then what is old
        let unknown = sizes.keys().filter(|path| !used.iter().any(|(file, _)| file == *path)).cloned();
        let unknown: Vec<(PathBuf, Option<PathBuf>)> = unknown.map(|path| (path, None)).collect();
        for (path, meta) in unknown.into_iter().chain(used.into_iter().map(|(file, meta)| (file, Some(meta)))) {
            let is_part = path.extension().is_some_and(|end| end == PART);
            if is_part || (meta.is_some() && total.saturating_add(more) <= self.limit) {
                continue;
            }
            if self.remove_unused(&path) {
                total -= sizes.get(&path).copied().unwrap_or(0);
                meta.map(fs::remove_file);
            }
        }
    }

    /// Removes a file that nobody holds.
    fn remove_unused(&self, path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => false,
            Ok(()) | Err(TryLockError::Error(_)) => fs::remove_file(path).is_ok(),
        }
    }

    fn meta(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.{META}"))
    }
}

impl Part {
    /// Writes the next piece.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), Trouble> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(piece).await.map_err(|e| unwritten(&e))?;
        self.written += piece.len() as u64;
        self.unchecked = self.unchecked.saturating_sub(piece.len() as u64);
        if self.unchecked == 0 {
            self.unchecked = GLANCE;
            check_space(self.path.parent().unwrap_or(&self.path), self.floor)?;
        }
        Ok(())
    }

    /// Where it is, with all that was written so far.
    pub(super) async fn flushed(&mut self) -> Result<&Path, Trouble> {
        if let Some(file) = &mut self.file {
            file.flush().await.map_err(|e| unwritten(&e))?;
        }
        Ok(&self.path)
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // where it was kept, it has another name by now
        let _ = fs::remove_file(&self.path);
    }
}

impl Known {
    fn read(meta: &Path) -> Option<Self> {
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

fn random() -> u64 {
    // a system without randomness has other worries; a name that is taken is an error
    getrandom::u64().unwrap_or_else(|_| now_ms())
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn check_space(folder: &Path, wanted: u64) -> Result<(), Trouble> {
    match scumble_files::free_bytes(folder) {
        Ok(Some(free)) if free < wanted => {
            tracing::error!(folder = %folder.display(), free, wanted, "no room for an adapter");
            Err(full())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(unwritten(&error)),
    }
}

fn full() -> Trouble {
    Trouble::unread("there is not enough space for it on the disk of this server; its owner can make room")
}

/// The caller hears no path of this machine.
fn unwritten(error: &io::Error) -> Trouble {
    tracing::error!(%error, "an adapter cannot be kept");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => full(),
        kind => Trouble::unread(format!("this server cannot keep it ({kind}); its owner can mend that")),
    }
}
