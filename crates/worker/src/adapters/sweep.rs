//! Looking through the cache's folder: what nobody knows goes, and of the rest what was not used for longest.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cache::{Known, META, PART};
use super::room::{Most, blocks};

/// A part is not looked at before it is so old: its maker may be about to lock it, or to give it its name.
const YOUNG: Duration = Duration::from_secs(60);

/// What is in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) bytes: u64,
    pub(super) files: usize,
}

/// What has one key.
#[derive(Default)]
struct Entry {
    /// What is known of it, with the time of its last use, and how long that file is.
    meta: Option<(SystemTime, PathBuf, u64)>,
    /// Its versions, and how long they are.
    files: Vec<(PathBuf, u64)>,
}

/// Removes what may go, oldest first, until no more than this is left. Names that begin with `own` are not looked at.
pub(super) fn sweep(folder: &Path, own: &str, most: &Most) -> Left {
    let mut left = Left::default();
    let mut entries: Vec<Entry> = listed(folder, own, &mut left).into_values().collect();
    for entry in &mut entries {
        left.forget(entry);
    }
    entries.retain(|entry| !entry.files.is_empty());
    entries.sort_unstable_by_key(|entry| entry.meta.as_ref().map(|(used, ..)| *used));
    for mut entry in entries {
        if left.bytes <= most.bytes && left.files <= most.files {
            break;
        }
        let Some((_, meta, length)) = entry.meta.take() else { continue };
        if entry.files.iter().all(|(file, _)| remove_unused(file)) {
            let _ = fs::remove_file(meta);
            left.bytes -= blocks(length) + entry.files.iter().map(|(_, length)| blocks(*length)).sum::<u64>();
            left.files -= entry.files.len();
        }
    }
    left
}

/// All that is there, by keys, without what a process that is gone was about to bring.
fn listed(folder: &Path, own: &str, left: &mut Left) -> HashMap<String, Entry> {
    let mut entries: HashMap<String, Entry> = HashMap::new();
    for found in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (found.path(), found.file_name().to_string_lossy().into_owned());
        let Some(found) = found.metadata().ok().filter(|_| !name.starts_with(own)) else { continue };
        let used = found.modified().unwrap_or(UNIX_EPOCH);
        let (key, end) = (name.split(['-', '.']).next().unwrap_or_default(), path.extension());
        match end.and_then(|end| end.to_str()) {
            // its maker is gone
            Some(PART) if is_old(used) && remove_unused(&path) => continue,
            Some(PART) => {}
            Some(META) => entries.entry(key.to_owned()).or_default().meta = Some((used, path, found.len())),
            _ => {
                entries.entry(key.to_owned()).or_default().files.push((path, found.len()));
                left.files += 1;
            }
        }
        left.bytes += blocks(found.len());
    }
    entries
}

impl Left {
    /// Removes versions that nobody knows any more, and what is known of a file that is gone.
    fn forget(&mut self, entry: &mut Entry) {
        if let (Some((used, meta, length)), true) = (&entry.meta, entry.files.is_empty())
            && is_old(*used)
            && fs::remove_file(meta).is_ok()
        {
            self.bytes -= blocks(*length);
            return;
        }
        let known = match &entry.meta {
            // one file, and something known: it is that
            Some(_) if entry.files.len() < 2 => return,
            Some((_, meta, _)) => Known::read(meta).map(|known| known.file),
            None => None,
        };
        entry.files.retain(|(path, length)| {
            let is_known = path.file_name().and_then(|name| name.to_str()) == known.as_deref() && known.is_some();
            let goes = !is_known && remove_unused(path);
            if goes {
                self.bytes -= blocks(*length);
                self.files -= 1;
            }
            !goes
        });
    }
}

fn is_old(at: SystemTime) -> bool {
    SystemTime::now().duration_since(at).is_ok_and(|age| age > YOUNG)
}

/// Removes a file that nobody holds.
pub(super) fn remove_unused(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        Ok(()) | Err(TryLockError::Error(_)) => fs::remove_file(path).is_ok(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::time::Instant;

    use super::*;

    const ANY: Most = Most { bytes: u64::MAX, files: usize::MAX };

    fn fill(folder: &Path, entries: usize) {
        for n in 0..entries {
            let file = format!("{n:032x}-0123456789abcdef.safetensors");
            fs::write(folder.join(&file), b"x").unwrap();
            let meta = serde_json::json!({ "file": file, "bytes": 1, "checked_ms": 1 }).to_string();
            let path = folder.join(format!("{n:032x}.{META}"));
            fs::write(&path, meta).unwrap();
            let used = UNIX_EPOCH + Duration::from_secs(1_000_000 + n as u64);
            File::options().write(true).open(path).unwrap().set_modified(used).unwrap();
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let found = fs::read_dir(folder).unwrap().map(|found| found.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = found.collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn whole_blocks_count_and_the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 5);
        assert_eq!(sweep(folder.path(), "own-", &ANY), Left { bytes: 5 * 2 * 4096, files: 5 });
        let most = Most { bytes: 3 * 2 * 4096, files: 9 };
        assert_eq!(sweep(folder.path(), "own-", &most), Left { bytes: 3 * 2 * 4096, files: 3 });
        assert_eq!(sweep(folder.path(), "own-", &Most { files: 1, ..ANY }).files, 1);
        assert!(names(folder.path()).iter().all(|name| name.starts_with(&format!("{:032x}", 4))));
    }

    #[test]
    fn what_nobody_knows_goes_unless_somebody_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 2);
        let path = |name: &str| folder.path().join(name);
        let (stranger, held) = (path("ffff-0.safetensors"), path("eeee-0.safetensors"));
        let older = path(&format!("{:032x}-ffffffffffffffff.safetensors", 1));
        for file in [&stranger, &held, &older, &path("own-1.safetensors"), &path("own-2.part")] {
            fs::write(file, b"x").unwrap();
        }
        fs::remove_file(path(&format!("{:032x}-0123456789abcdef.safetensors", 0))).unwrap();
        let lock = File::open(&held).unwrap();
        lock.lock_shared().unwrap();
        assert_eq!(sweep(folder.path(), "own-", &ANY), Left { bytes: 3 * 4096, files: 2 });
        let expected = [
            &format!("{:032x}-0123456789abcdef.safetensors", 1),
            &format!("{:032x}.{META}", 1),
            "eeee-0.safetensors",
            "own-1.safetensors",
            "own-2.part",
        ];
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn many_files_cost_little() {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 8000);
        let began = Instant::now();
        assert_eq!(sweep(folder.path(), "own-", &ANY).files, 8000);
        eprintln!("{:?} for 8000 files", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}
