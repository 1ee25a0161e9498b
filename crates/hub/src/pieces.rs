//! A file on its way: which pieces of it are here, written down beside it, so that whoever comes next goes on.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Bytes of a piece: what a cut may cost on each connection.
const PIECE: u64 = 4 * 1024 * 1024;

/// The file and its account.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    size: u64,
    piece: u64,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    file: File,
    path: PathBuf,
    /// Which pieces are here.
    done: Vec<bool>,
}

impl Part {
    /// Names that no other tool takes for its own.
    pub(crate) fn path_of(blob: &Path) -> PathBuf {
        named(blob, "scumble-part")
    }

    /// The part of this blob that an earlier run has left, or a new one.
    pub(crate) fn open(blob: &Path, size: u64) -> Result<Self> {
        let (path, account_path) = (Self::path_of(blob), named(blob, "scumble-pieces"));
        let head = format!("scumble 1 {size} {PIECE}");
        let count = usize::try_from(size.div_ceil(PIECE)).unwrap_or(usize::MAX);
        let is_whole_length = fs::metadata(&path).is_ok_and(|found| found.len() == size);
        let done = fs::read_to_string(&account_path).ok().filter(|_| is_whole_length);
        let done = done.and_then(|text| read(&text, &head, count));
        let is_new = done.is_none();
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(is_new);
        let file = options.open(&path).map_err(|e| Error::disk("open", &path, e))?;
        let mut account = options.open(&account_path).map_err(|e| Error::disk("open", &account_path, e))?;
        if is_new {
            file.set_len(size).map_err(|e| Error::disk("make room for", &path, e))?;
            account.write_all(format!("{head}\n").as_bytes()).map_err(|e| Error::disk("write", &account_path, e))?;
        } else {
            io::Seek::seek(&mut account, io::SeekFrom::End(0)).map_err(|e| Error::disk("read", &account_path, e))?;
        }
        let done = done.unwrap_or_else(|| vec![false; count]);
        let account = Mutex::new(Account { file: account, path: account_path, done });
        Ok(Self { file, path, size, piece: PIECE, account })
    }

    /// How many bytes of this blob an earlier run has left.
    pub(crate) fn here(blob: &Path, size: u64) -> u64 {
        if !Self::path_of(blob).is_file() {
            return 0;
        }
        let text = fs::read_to_string(named(blob, "scumble-pieces")).unwrap_or_default();
        let count = usize::try_from(size.div_ceil(PIECE)).unwrap_or(usize::MAX);
        let done = read(&text, &format!("scumble 1 {size} {PIECE}"), count).unwrap_or_default();
        (0_u64..).zip(done).filter(|(_, done)| *done).map(|(at, _)| ((at + 1) * PIECE).min(size) - at * PIECE).sum()
    }

    /// What is missing, in runs of at most `longest` bytes.
    pub(crate) fn missing(&self, longest: u64) -> Vec<Range<u64>> {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (at, _) in (0_u64..).zip(&account.done).filter(|(_, done)| !**done) {
            let (start, end) = (at * self.piece, ((at + 1) * self.piece).min(self.size));
            match runs.last_mut() {
                Some(run) if run.end == start && end - run.start <= longest => run.end = end,
                _ => runs.push(start..end),
            }
        }
        runs
    }

    /// Writes bytes at their place.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        write_at(&self.file, bytes, at).map_err(|e| Error::disk("write", &self.path, e))
    }

    /// Notes that all bytes of a run have been written; of pieces that it holds in part nothing is noted.
    pub(crate) fn note(&self, run: Range<u64>) -> Result<()> {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let first = run.start.div_ceil(self.piece);
        let last = if run.end == self.size { self.size.div_ceil(self.piece) } else { run.end / self.piece };
        let mut lines = String::new();
        for at in first..last {
            let Some(done) = account.done.get_mut(usize::try_from(at).unwrap_or(usize::MAX)) else { break };
            if !std::mem::replace(done, true) {
                lines += &format!("{at}\n");
            }
        }
        let Account { file, path, .. } = &mut *account;
        file.write_all(lines.as_bytes()).map_err(|e| Error::disk("write", path, e))
    }

    /// Forgets all that has come.
    pub(crate) fn forget(&self) -> Result<()> {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        account.done.fill(false);
        let head = format!("scumble 1 {} {}\n", self.size, self.piece);
        let Account { file, path, .. } = &mut *account;
        let anew = file.set_len(0).and_then(|()| io::Seek::rewind(file)).and_then(|()| file.write_all(head.as_bytes()));
        anew.map_err(|e| Error::disk("write", path, e))
    }

    /// Gives the file its name; it is on the disk before it has it.
    pub(crate) fn keep(self, blob: &Path) -> Result<()> {
        let Self { file, path, account, .. } = self;
        file.sync_all().map_err(|e| Error::disk("write", &path, e))?;
        fs::rename(&path, blob).map_err(|e| Error::disk("name", blob, e))?;
        let account = account.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = fs::remove_file(&account.path);
        Ok(())
    }

    /// Takes it off the disk.
    pub(crate) fn discard(self) {
        let account = self.account.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = (fs::remove_file(&self.path), fs::remove_file(&account.path));
    }
}

fn named(blob: &Path, end: &str) -> PathBuf {
    let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    blob.with_file_name(format!("{name}.{end}"))
}

/// The pieces that an account speaks of, where it is of this file.
fn read(text: &str, head: &str, count: usize) -> Option<Vec<bool>> {
    // a line that was cut is no piece
    let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
    let mut lines = whole.lines();
    if lines.next()? != head {
        return None;
    }
    let mut done = vec![false; count];
    for line in lines {
        *done.get_mut(line.parse::<usize>().ok()?)? = true;
    }
    Some(done)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(not(unix))]
fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        (bytes, at) = (&bytes[written..], at + written as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_not_missing_to_who_comes_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let blob = folder.path().join("abc");
        let size = 3 * PIECE + 10;
        let part = Part::open(&blob, size).expect("a part");
        assert_eq!(part.missing(u64::MAX), std::iter::once(0..size).collect::<Vec<_>>());
        // the second piece whole, the third in part, and the short one at the end
        part.note(PIECE..2 * PIECE + 5).expect("noted");
        part.note(3 * PIECE..size).expect("noted");
        drop(part);
        assert_eq!(Part::here(&blob, size), PIECE + 10);
        assert_eq!(Part::here(&blob, size + 1), 0, "of another file");
        let part = Part::open(&blob, size).expect("a part");
        assert_eq!(part.missing(u64::MAX), [0..PIECE, 2 * PIECE..3 * PIECE]);
        part.forget().expect("forgotten");
        assert_eq!(part.missing(2 * PIECE), [0..2 * PIECE, 2 * PIECE..size]);
        assert_eq!(Part::here(&blob, size), 0);
    }

    #[test]
    fn an_account_that_is_cut_or_lies_is_read_as_far_as_it_is_sure() {
        let head = "scumble 1 9 4";
        assert_eq!(read("scumble 1 9 4\n1\n2", head, 3), Some(vec![false, true, false]));
        for wrong in ["", "scumble 1 9 4", "scumble 1 8 4\n1\n", "scumble 1 9 4\n3\n", "scumble 1 9 4\nx\n"] {
            assert_eq!(read(wrong, head, 3), None, "{wrong:?}");
        }
    }
}
