//! How much is in the cache's folder and on its way there, and how room is made.
//!
//! Sums are kept in memory: the folder itself is looked through only where they say that there is no room, and now and
//! then, since other processes may use it too. That blocks, and never happens on a thread that others wait for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::cache::Known;
use super::part::{Part, full, random, unwritten};
use super::sweep::{remove_unused, sweep};
use super::trouble::Trouble;

/// Files and what is known of them take whole blocks of the disk, in bytes.
const BLOCK: u64 = 4096;

/// So many files are kept at the most.
const FILES: usize = 4096;

/// The folder is looked through at least so often, when something comes.
const ROUND: Duration = Duration::from_secs(60);

/// The folder, its limits, and what is in it.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) folder: PathBuf,
    /// How names begin of what is on its way here by this process, and is counted as reserved.
    pub(super) own: String,
    /// Bytes of all files together.
    limit: u64,
    /// Bytes that stay free on the disk.
    floor: u64,
    sums: Mutex<Sums>,
    sweeping: Mutex<()>,
}

#[derive(Debug, Default)]
struct Sums {
    /// Bytes of files that are kept, as far as is known.
    kept: u64,
    files: usize,
    /// Bytes for what is on its way.
    reserved: u64,
    /// How many of these have not come yet.
    unwritten: u64,
    swept: Option<Instant>,
}

/// Room for one file; free again when this goes.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) room: Arc<Room>,
    bytes: u64,
    unwritten: u64,
}

/// What a sweep may leave.
pub(super) struct Most {
    pub(super) bytes: u64,
    pub(super) files: usize,
}

/// How much a file of so many bytes takes.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK).max(1).saturating_mul(BLOCK)
}

/// The same with what is known of it.
pub(super) fn with_meta(bytes: u64) -> u64 {
    blocks(bytes).saturating_add(BLOCK)
}

impl Room {
    pub(super) fn new(folder: PathBuf, limit: u64, floor: u64) -> Self {
        let own = format!("{:016x}-", random());
        Self { folder, own, limit, floor, sums: Mutex::default(), sweeping: Mutex::default() }
    }

    /// Room for a file of so many bytes. Blocks.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reserved, Trouble> {
        let mut reserved = Reserved { room: self.clone(), bytes: 0, unwritten: 0 };
        self.add(&mut reserved, with_meta(bytes))?;
        // what was announced will come; more than that is counted when it comes
        reserved.unwritten = bytes;
        self.sums().unwritten += bytes;
        Ok(reserved)
    }

    fn add(&self, reserved: &mut Reserved, more: u64) -> Result<(), Trouble> {
        if reserved.bytes.saturating_add(more) > self.limit {
            return Err(Trouble::never_fits(self.limit));
        }
        let is_due = self.sums().swept.is_none_or(|at| at.elapsed() > ROUND);
        if is_due || !self.try_add(reserved, more) {
            self.sweep(more);
            if !self.try_add(reserved, more) {
                return Err(Trouble::unread(
                    "adapters that are in use or on their way take all the room that this server has for them \
                     ([adapters] cache_bytes); try again later",
                ));
            }
        }
        Ok(())
    }

    fn try_add(&self, reserved: &mut Reserved, more: u64) -> bool {
        let mut sums = self.sums();
        let fits = sums.kept.saturating_add(sums.reserved).saturating_add(more) <= self.limit;
        if fits && sums.files < FILES {
            sums.reserved += more;
            reserved.bytes += more;
            return true;
        }
        false
    }

    /// Removes what was left behind, and what was not used for longest, until so many more bytes are within the limit.
    fn sweep(&self, more: u64) {
        let _sweeping = self.sweeping();
        let (reserved, files) = {
            let sums = self.sums();
            (sums.reserved, sums.files)
        };
        let bytes = self.limit.saturating_sub(reserved).saturating_sub(more);
        // some more than need be, so that the next file need not sweep again
        let files = if files >= FILES { FILES - FILES / 8 } else { FILES - 1 };
        let left = sweep(&self.folder, &self.own, &Most { bytes, files });
        let mut sums = self.sums();
        (sums.kept, sums.files, sums.swept) = (left.bytes, left.files, Some(Instant::now()));
    }

    /// Counts a part that has become a file, instead of the one that was known before.
    pub(super) fn kept(&self, _: &MutexGuard<'_, ()>, part: Part, before: Option<&Known>) {
        let gone = before.filter(|before| remove_unused(&self.folder.join(&before.file)));
        let mut sums = self.sums();
        sums.kept = sums.kept.saturating_add(with_meta(part.written()));
        sums.kept = sums.kept.saturating_sub(gone.map_or(0, |gone| with_meta(gone.bytes)));
        sums.files = (sums.files + 1).saturating_sub(usize::from(gone.is_some()));
        drop(sums);
        drop(part);
    }

    /// Held by whoever removes or names files: one at a time. Blocks.
    pub(super) fn sweeping(&self) -> MutexGuard<'_, ()> {
        self.sweeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the disk has room for all that was announced, with what stays free.
    pub(super) fn check_disk(&self) -> Result<(), Trouble> {
        let wanted = self.floor.saturating_add(self.sums().unwritten);
        match scumble_files::free_bytes(&self.folder) {
            Ok(Some(free)) if free < wanted => {
                tracing::error!(folder = %self.folder.display(), free, wanted, "no room for an adapter");
                Err(full())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(unwritten(&error)),
        }
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved {
    /// Makes it enough for a file of so many bytes.
    pub(super) async fn extend(&mut self, bytes: u64) -> Result<(), Trouble> {
        let more = with_meta(bytes).saturating_sub(self.bytes);
        if more == 0 || self.room.clone().try_add(self, more) {
            return Ok(());
        }
        if self.bytes.saturating_add(more) > self.room.limit {
            return Err(Trouble::never_fits(self.room.limit));
        }
        let room = self.room.clone();
        let mut extra = Self { room: room.clone(), bytes: 0, unwritten: 0 };
        let added = tokio::task::spawn_blocking(move || room.add(&mut extra, more).map(|()| extra)).await;
        let mut extra = added.unwrap_or_else(|error| Err(unwritten(&error.into())))?;
        self.bytes += std::mem::take(&mut extra.bytes);
        Ok(())
    }

    /// So many bytes more have come.
    pub(super) fn wrote(&mut self, bytes: u64) {
        let come = bytes.min(self.unwritten);
        self.unwritten -= come;
        self.room.sums().unwritten -= come;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut sums = self.room.sums();
        sums.reserved -= self.bytes;
        sums.unwritten -= self.unwritten;
    }
}
