//! Where the bytes of a file come from.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{Error as IoError, ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Something of known length whose parts can be looked at.
pub(super) trait Look {
    /// In bytes.
    fn length(&self) -> usize;

    /// These bytes; nothing where they are not there, or cannot be read.
    fn look(&self, range: Range<usize>) -> Option<Cow<'_, [u8]>>;
}

impl Look for [u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn look(&self, range: Range<usize>) -> Option<Cow<'_, [u8]>> {
        self.get(range).map(Cow::Borrowed)
    }
}

/// A file's contents: mapped, part of the program, or read when they are asked for.
pub(crate) enum Bytes {
    /// An owner's file, which only the owner changes.
    Mapped(Arc<memmap2::Mmap>),
    /// Linked into the program.
    Static(&'static [u8]),
    /// Anybody's file: when somebody cuts it short, reading fails, where a map would end the process.
    Read(Opened),
}

/// An open file, and what it was like then.
pub(crate) struct Opened {
    file: Mutex<File>,
    length: usize,
    then: Metadata,
}

impl Bytes {
    /// Maps a file for reading.
    #[expect(unsafe_code, reason = "memory-mapping is how 24 GB of weights are opened in milliseconds")]
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let unreadable = |e: IoError| Error::Unreadable { path: path.to_owned(), reason: e.to_string() };
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: the map is read-only and private to this value. A file that another process cuts short while it is
        // mapped would fault on access; like every program that maps weights, we ask owners not to do that.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(unreadable)?;
        Ok(Self::Mapped(Arc::new(map)))
    }

    /// Opens a file whose parts are read when they are asked for.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let unreadable = |e: IoError| Error::Unreadable { path: path.to_owned(), reason: e.to_string() };
        // opening a pipe would wait for somebody to write into it
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(unreadable(IoError::other("it is not a file")));
        }
        let file = File::open(path).map_err(unreadable)?;
        let then = file.metadata().map_err(unreadable)?;
        let length = usize::try_from(then.len()).map_err(|_| unreadable(IoError::other("it is too large")))?;
        Ok(Self::Read(Opened { file: Mutex::new(file), length, then }))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Mapped(map) => map.len(),
            Self::Static(bytes) => bytes.len(),
            Self::Read(file) => file.length,
        }
    }

    /// Some of them.
    ///
    /// # Errors
    /// Bytes that are not there, and a file that cannot be read or is not what it was when it was opened.
    pub(crate) fn get(&self, range: Range<usize>) -> IoResult<Cow<'_, [u8]>> {
        if range.start > range.end || range.end > self.len() {
            return Err(IoError::new(ErrorKind::UnexpectedEof, "it is too short"));
        }
        match self {
            Self::Mapped(map) => Ok(Cow::Borrowed(&map[range])),
            Self::Static(bytes) => Ok(Cow::Borrowed(&bytes[range])),
            Self::Read(file) => file.get(&range).map(Cow::Owned),
        }
    }
}

impl Bytes {
    /// Some of them, to be kept: where they are if they can stay there, else as a copy.
    ///
    /// # Errors
    /// As [`Bytes::get`].
    pub(super) fn keep(&self, range: Range<usize>) -> IoResult<Kept> {
        let found = self.get(range.clone())?;
        Ok(match (self, found) {
            (Self::Mapped(map), _) => Kept::Mapped(map.clone(), range),
            (Self::Static(bytes), _) => Kept::Static(&bytes[range]),
            (_, found) => Kept::Own(Arc::new(found.into_owned())),
        })
    }
}

/// Bytes that somebody holds.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// In the map of their file, which stays as long as they are held.
    Mapped(Arc<memmap2::Mmap>, Range<usize>),
    /// In the program.
    Static(&'static [u8]),
    /// In memory of their own.
    Own(Arc<Vec<u8>>),
}

impl Kept {
    /// Brings them into memory, where they are not yet; a file's map is read from the disk when it is touched first.
    pub(super) fn touch(&self) {
        const PAGE: usize = 4096;
        if let Self::Mapped(..) = self {
            let sum = self.iter().step_by(PAGE).fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            std::hint::black_box(sum);
        }
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, range) => &map[range.clone()],
            Self::Static(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }
}

impl Look for Bytes {
    fn length(&self) -> usize {
        self.len()
    }

    fn look(&self, range: Range<usize>) -> Option<Cow<'_, [u8]>> {
        self.get(range).ok()
    }
}

impl Opened {
    /// The range lies within the length that the file had.
    fn get(&self, range: &Range<usize>) -> IoResult<Vec<u8>> {
        let changed = || IoError::other("it was changed while it was read");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(range.start as u64))?;
        let mut bytes = vec![0; range.len()];
        file.read_exact(&mut bytes).map_err(|e| if e.kind() == ErrorKind::UnexpectedEof { changed() } else { e })?;
        // half of the old and half of the new would be neither
        let now = file.metadata()?;
        let same = now.len() == self.then.len() && now.modified().ok() == self.then.modified().ok();
        if same { Ok(bytes) } else { Err(changed()) }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A map would end the process at the first of these.
    #[test]
    fn a_file_that_is_cut_or_rewritten_while_it_is_open_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let bytes = Bytes::open(&path).unwrap();
        assert_eq!(&*bytes.get(99_998..100_000).unwrap(), [7, 7]);
        assert!(bytes.get(99_999..100_001).is_err());
        // renamed over, the old one stays what it was
        std::fs::write(folder.path().join("new"), b"short").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(&*bytes.get(99_998..100_000).unwrap(), [7, 7]);
        let short = Bytes::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert!(short.get(0..5).unwrap_err().to_string().contains("changed"));
        assert!(short.get(0..1).unwrap_err().to_string().contains("changed"));
        let same = Bytes::open(&path).unwrap();
        std::fs::write(&path, b"ab").unwrap();
        let later = SystemTime::now() + Duration::from_secs(10);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(same.get(0..2).unwrap_err().to_string().contains("changed"));
        assert!(matches!(Bytes::open(folder.path()), Err(Error::Unreadable { .. })));
    }
}
