//! Small files, durable with one short flush that many share.
//!
//! A new file costs its file system a journal entry for its name, its size and its folder, which a flush has to wait for,
//! file by file. Here a small file is written under its path and left to the system; its bytes go once more into a segment
//! of the spool, whose space was made before, and one flush of that covers everybody who wrote meanwhile. The files
//! themselves are flushed later, when the segment is full or nobody has come for a second, and the segment is cleared.
//!
//! After a power cut the next process that opens the folder finds the segments and writes anew what is missing
//! ([`recover`]). Each process has two segments of its own, locked for as long as it lives.

mod recover;
mod segment;
mod settle;
mod system;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::recover::{recover, write_anew};
#[cfg(feature = "fuzz")]
pub use self::segment::read_segment;
use self::segment::{Record, Segment};
pub(crate) use self::system::System;
use crate::path::FOLDER;
use crate::{FilePath, disk};

/// The folder of all segments.
pub(crate) const SPOOL: &str = "spool";

/// What counts as small: above this the bytes cost more than the names.
pub(crate) const SMALL_BYTES: usize = 64 * 1024;

/// For so long nobody has to come before the current segment is settled, full or not.
const QUIET: Duration = Duration::from_secs(1);

/// How a segment is brought to the disk.
type Flush = Box<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// The spool of this process in one folder of files. When it goes, the files are flushed and its segments with it.
pub(crate) struct Spool {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    quiet: Duration,
    flush: Flush,
    state: Mutex<State>,
    /// For those who wait for a flush or for room.
    done: Condvar,
    /// For the settler.
    work: Condvar,
}

struct State {
    /// Takes the records that come now.
    current: Segment,
    other: Other,
    /// The files that the current segment remembers.
    fresh: HashSet<FilePath>,
    /// Those of the other one, until it is clear.
    settling: HashSet<FilePath>,
    /// Records appended, and how many of these are on disk.
    appended: u64,
    flushed: u64,
    /// Somebody flushes, for all who wait.
    flushing: bool,
    /// Nobody comes any more.
    closed: bool,
    /// A flush failed. What is on disk nobody knows until the next start.
    broken: bool,
}

/// The segment that takes nothing now.
enum Other {
    /// It can take the current one's place.
    Clear(Segment),
    /// Its files are to be flushed.
    Full(Segment),
    /// They are being flushed.
    Settling,
}

impl Spool {
    /// Makes the segments and starts the thread that settles.
    ///
    /// # Errors
    /// There is no room for segments, or they cannot be locked here.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        // a folder of its own may be on a disk of its own
        let files = root.join(FOLDER);
        fs::create_dir_all(&files)?;
        Self::open_with(root, QUIET, Box::new(File::sync_data), System::under(&files))
    }

    fn open_with(root: &Path, quiet: Duration, flush: Flush, system: Option<System>) -> io::Result<Self> {
        let folder = root.join(SPOOL);
        // nobody but this program has any use for it
        disk::private_folder(&folder)?;
        let current = Segment::make(&folder)?;
        let other = Segment::make(&folder).inspect_err(|_| _ = current.remove())?;
        let state = State {
            current,
            other: Other::Clear(other),
            fresh: HashSet::new(),
            settling: HashSet::new(),
            appended: 0,
            flushed: 0,
            flushing: false,
            closed: false,
            broken: false,
        };
        disk::flush_folder(&folder)?;
        disk::flush_folder(root)?;
        let (done, work) = (Condvar::new(), Condvar::new());
        let (root, state) = (root.to_owned(), Mutex::new(state));
        let shared = Arc::new(Shared { root, quiet, flush, state, done, work });
        let settler = shared.clone();
        std::thread::Builder::new().name("files-settler".to_owned()).spawn(move || settler.settle(system))?;
        Ok(Self { shared })
    }

    /// Stores a file durably under a path that nobody else knows yet.
    ///
    /// # Errors
    /// The disk is full or failing; nothing is stored then.
    pub(crate) fn put(&self, path: &FilePath, bytes: &[u8]) -> io::Result<()> {
        let root = &self.shared.root;
        let stored = disk::write(root, path, bytes).and_then(|()| self.remember(path, Record::Stored(bytes)));
        if stored.is_err() {
            disk::unwrite(root, path);
        }
        stored
    }

    /// Whether a file would come back from here after a power cut.
    pub(crate) fn remembers(&self, path: &FilePath) -> bool {
        let state = self.shared.lock();
        state.fresh.contains(path) || state.settling.contains(path)
    }

    /// Remembers that a file was deleted.
    ///
    /// # Errors
    /// The disk is full or failing.
    pub(crate) fn forget(&self, path: &FilePath) -> io::Result<()> {
        self.remember(path, Record::Deleted)
    }

    /// Whether it takes nothing any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.shared.lock().broken
    }

    /// Appends a record and returns once it is on disk.
    fn remember(&self, path: &FilePath, record: Record<'_>) -> io::Result<()> {
        let mut state = self.shared.with_room(path, record)?;
        let is_first = state.current.is_empty();
        state.current.append(path, record)?;
        match record {
            Record::Stored(_) => state.fresh.insert(path.clone()),
            Record::Deleted => state.fresh.remove(path),
        };
        state.appended += 1;
        if is_first {
            self.shared.work.notify_one();
        }
        let number = state.appended;
        self.shared.flushed(state, number).map(drop)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once the current segment has room for a record.
    fn with_room(&self, path: &FilePath, record: Record<'_>) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        // nobody makes room in a broken spool
        while !state.broken {
            if state.current.has_room(path, record) {
                return Ok(state);
            }
            let all = state.appended;
            state = self.flushed(state, all)?;
            if state.change_segments() {
                self.work.notify_one();
            } else {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        Err(broken())
    }

    /// Waits until the record of this number is on disk. Whoever finds nobody flushing does it for everybody.
    fn flushed<'a>(&'a self, mut state: MutexGuard<'a, State>, number: u64) -> io::Result<MutexGuard<'a, State>> {
        while state.flushed < number {
            if state.broken {
                return Err(broken());
            }
            if state.flushing {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.flushing = true;
            let (file, through) = (state.current.file().clone(), state.appended);
            drop(state);
            let flushed = (self.flush)(&file);
            state = self.lock();
            state.flushing = false;
            match &flushed {
                Ok(()) => state.flushed = through,
                Err(_) => state.broken = true,
            }
            self.done.notify_all();
            flushed?;
        }
        Ok(state)
    }
}

impl State {
    /// Hands the current segment to the settler, if the other one is clear and nobody waits for a flush.
    fn change_segments(&mut self) -> bool {
        if self.broken || self.flushing || self.flushed < self.appended {
            return false;
        }
        match std::mem::replace(&mut self.other, Other::Settling) {
            Other::Clear(clear) => {
                self.other = Other::Full(std::mem::replace(&mut self.current, clear));
                self.settling = std::mem::take(&mut self.fresh);
                true
            }
            other => {
                self.other = other;
                false
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("the spool could not be flushed; it is read anew at the next start")
}
