//! The thread that flushes the files themselves, and clears the segment that remembers them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};

use super::segment::Segment;
use super::system::{MANY, System};
use super::{Other, Shared, State};
use crate::path::FOLDER;
use crate::{FilePath, disk};

impl Shared {
    /// Settles segments until the spool is closed and nothing is left in it. Many files are flushed with their `system`,
    /// where that can be relied on.
    pub(super) fn settle(&self, mut system: Option<System>) {
        let mut state = self.lock();
        while !state.broken {
            state = if let Some(full) = state.other.take_full() {
                self.settle_segment(state, full, system.as_mut())
            } else if !state.current.is_empty() {
                self.until_quiet(state)
            } else if !state.closed {
                self.work.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                // what cannot be removed is empty, and the next start removes it
                let _ = (state.current.remove(), state.other.clear().map(Segment::remove));
                return;
            }
        }
    }

    /// Waits a while, and hands over the current segment if nobody has come meanwhile, or will.
    fn until_quiet<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (seen, mut is_quiet) = (state.appended, state.closed);
        if !is_quiet {
            let waited = self.work.wait_timeout(state, self.quiet).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            is_quiet = state.closed || (waited.1.timed_out() && state.appended == seen);
        }
        if is_quiet {
            // refused while somebody flushes, and tried again
            state.change_segments();
        }
        state
    }

    fn settle_segment<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        mut segment: Segment,
        system: Option<&mut System>,
    ) -> MutexGuard<'a, State> {
        let files: Vec<FilePath> = state.settling.iter().cloned().collect();
        drop(state);
        let settled = flush_all(&self.root, &files.iter().collect::<Vec<_>>(), system).and_then(|()| segment.clear());
        let mut state = self.lock();
        match settled {
            Ok(()) => {
                state.settling.clear();
                state.other = Other::Clear(segment);
            }
            Err(error) => {
                tracing::error!(%error, "small files cannot be flushed; they are looked after at the next start");
                state.broken = true;
            }
        }
        self.done.notify_all();
        state
    }
}

impl Other {
    fn take_full(&mut self) -> Option<Segment> {
        match std::mem::replace(self, Self::Settling) {
            Self::Full(segment) => Some(segment),
            other => {
                *self = other;
                None
            }
        }
    }

    fn clear(&self) -> Option<&Segment> {
        if let Self::Clear(segment) = self { Some(segment) } else { None }
    }
}

/// Brings these files and their names to the disk, many with their `system`, where that can be relied on.
pub(crate) fn flush_all(root: &Path, files: &[&FilePath], system: Option<&mut System>) -> io::Result<()> {
    if files.len() >= MANY && system.is_some_and(System::flushed) {
        return Ok(());
    }
    flush_files(root, files.iter().copied())
}

/// Brings these files and their names to the disk. Those that are gone were deleted.
pub(super) fn flush_files<'a>(root: &Path, files: impl IntoIterator<Item = &'a FilePath>) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for path in files {
        let target = root.join(path.as_str());
        match File::open(&target) {
            Ok(file) => file.sync_all()?,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        folders.extend(target.parent().map(Path::to_owned));
    }
    if folders.is_empty() {
        return Ok(());
    }
    for folder in &folders {
        match disk::flush_folder(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            flushed => flushed?,
        }
    }
    disk::flush_folder(&root.join(FOLDER))?;
    disk::flush_folder(root)
}
