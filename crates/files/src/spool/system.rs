//! The file system under the files, flushed as a whole.
//!
//! Many small files one by one are as many waits for the disk, and more for their folders. Linux flushes everything with
//! one call. It tells of all that failed since 5.17, where each file system's own word is passed on ("vfs: make
//! sync_filesystem return errors from ->sync_fs").

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// From so many files on the whole system is flushed.
pub(super) const MANY: usize = 32;

/// A flush that takes longer than this waits for what others write.
const SLOW: Duration = Duration::from_secs(1);

/// How long it is not tried again after it was slow or failed.
const REST: Duration = Duration::from_secs(60);

/// Flushes everything of one file system.
type FlushAll = Box<dyn Fn() -> io::Result<()> + Send>;

/// A file system that can be flushed as a whole.
pub(crate) struct System {
    flush: FlushAll,
    slow: Duration,
    rests_until: Option<Instant>,
}

impl System {
    /// The one that `folder` is on; `None` where it would not tell of what failed.
    pub(crate) fn under(folder: &Path) -> Option<Self> {
        flush_under(folder).map(|flush| Self::with(flush, SLOW))
    }

    pub(super) fn with(flush: FlushAll, slow: Duration) -> Self {
        Self { flush, slow, rests_until: None }
    }

    /// Whether everything is on disk now. Not even tried for a while after what others keep there made it slow, or fail;
    /// that need not concern our files.
    pub(super) fn flushed(&mut self) -> bool {
        let began = Instant::now();
        if self.rests_until.is_some_and(|until| began < until) {
            return false;
        }
        let flushed = (self.flush)();
        if let Err(error) = &flushed {
            tracing::warn!(%error, "cannot flush the whole file system; files are flushed one by one for a while");
        }
        let now = Instant::now();
        let is_well = flushed.is_ok() && now - began < self.slow;
        self.rests_until = (!is_well).then(|| now + REST);
        flushed.is_ok()
    }
}

#[cfg(target_os = "linux")]
fn flush_under(folder: &Path) -> Option<FlushAll> {
    // open from the start: it hears of every failure from now on
    let folder = std::fs::File::open(folder).ok()?;
    let kind = rustix::fs::fstatfs(&folder).ok()?.f_type as u64;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    (KINDS.contains(&kind) && version(&release)? >= (5, 17))
        .then(|| Box::new(move || Ok(rustix::fs::syncfs(&folder)?)) as FlushAll)
}

#[cfg(not(target_os = "linux"))]
fn flush_under(_: &Path) -> Option<FlushAll> {
    None
}

/// The numbers of ext4 (with its ancestors), XFS and Btrfs, statfs(2).
#[cfg(target_os = "linux")]
const KINDS: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// Of Linux, such as `6.1.0-42-amd64`.
#[cfg(target_os = "linux")]
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What two flushes say, and how often the system was asked.
    fn two_flushes(works: bool, slow: Duration) -> (bool, bool, usize) {
        let asked = Arc::<AtomicUsize>::default();
        let count = asked.clone();
        let flush = move || {
            count.fetch_add(1, Ordering::SeqCst);
            if works { Ok(()) } else { Err(io::Error::other("it burns")) }
        };
        let mut system = System::with(Box::new(flush), slow);
        (system.flushed(), system.flushed(), asked.load(Ordering::SeqCst))
    }

    #[test]
    fn what_was_slow_or_failed_is_not_tried_again_at_once() {
        assert_eq!(two_flushes(true, Duration::MAX), (true, true, 2));
        assert_eq!(two_flushes(true, Duration::ZERO), (true, false, 1));
        assert_eq!(two_flushes(false, Duration::MAX), (false, false, 1));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("6.1.0-42-amd64\n"), Some((6, 1)));
        assert_eq!(version("5.17-rc3"), Some((5, 17)));
        assert!(version("4.18.0-553.el8") < Some((5, 8)) && version("5.10.0") > Some((5, 8)));
        assert_eq!(version("unknown"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_system_is_flushed_where_it_tells() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(System::under(folder.path()).is_none_or(|mut system| system.flushed()));
        // kept by no disk
        assert!(System::under(Path::new("/proc")).is_none());
    }
}
