//! One file of the spool: records one behind the other, in space that was made before.
//!
//! A record is its length, a checksum of the rest, the segment's generation, a kind, the path and the bytes. What lies
//! behind the last one is left of older generations, or torn, and its generation or its checksum tells.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::FilePath;
use crate::path::random_hex;

/// How much a segment holds.
pub(super) const SEGMENT_BYTES: u64 = 1024 * 1024;

/// Length and checksum, which the checksum does not cover.
const HEAD_BYTES: usize = 8;
/// Generation, kind and length of the path.
const ABOUT_BYTES: usize = 8 + 1 + 2;

/// What is remembered of a file until it is on disk itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// It has these bytes.
    Stored(&'a [u8]),
    /// It was deleted.
    Deleted,
}

impl<'a> Record<'a> {
    fn bytes(self) -> &'a [u8] {
        if let Self::Stored(bytes) = self { bytes } else { &[] }
    }

    /// How much of a segment it takes.
    fn length(self, path: &FilePath) -> usize {
        HEAD_BYTES + ABOUT_BYTES + path.as_str().len() + self.bytes().len()
    }
}

/// A segment that this process writes.
pub(super) struct Segment {
    path: PathBuf,
    /// Locked for as long as it is open.
    file: Arc<File>,
    generation: u64,
    end: u64,
}

impl Segment {
    /// Makes a segment in a folder and takes hold of it. Its space is written once, so that later only bytes change, and
    /// nothing that a flush would have to note beside them.
    pub(super) fn make(folder: &Path) -> io::Result<Self> {
        let name = random_hex().map_err(io::Error::other)?;
        let path = folder.join(name);
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        // pictures of everybody are in it, whoever may read the folder of files
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let made = options.open(&path).and_then(|mut file| {
            file.try_lock()?;
            file.write_all(&vec![0; SEGMENT_BYTES as usize])?;
            file.sync_all()?;
            Ok(Self { path: path.clone(), file: Arc::new(file), generation: fresh_generation()?, end: 0 })
        });
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        made
    }

    /// The file, to flush it.
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Whether a record has a place in it, with room for the mark of the end behind it.
    pub(super) fn has_room(&self, path: &FilePath, record: Record<'_>) -> bool {
        self.end + (record.length(path) + HEAD_BYTES) as u64 <= SEGMENT_BYTES
    }

    /// Appends a record, which is not flushed.
    pub(super) fn append(&mut self, path: &FilePath, record: Record<'_>) -> io::Result<()> {
        let path_length = u16::try_from(path.as_str().len()).map_err(io::Error::other)?;
        let length = u32::try_from(record.length(path) - HEAD_BYTES).map_err(io::Error::other)?;
        let mut whole = Vec::with_capacity(HEAD_BYTES + length as usize);
        whole.extend_from_slice(&length.to_le_bytes());
        whole.extend_from_slice(&[0; 4]);
        whole.extend_from_slice(&self.generation.to_le_bytes());
        whole.push(u8::from(record == Record::Deleted));
        whole.extend_from_slice(&path_length.to_le_bytes());
        whole.extend_from_slice(path.as_str().as_bytes());
        whole.extend_from_slice(record.bytes());
        let checksum = crc32fast::hash(&whole[HEAD_BYTES..]);
        whole[4..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
        self.write_at(self.end, &whole)?;
        self.end += whole.len() as u64;
        Ok(())
    }

    /// Forgets all records, durably.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.write_at(0, &[0; HEAD_BYTES])?;
        self.file.sync_data()?;
        self.generation = fresh_generation()?;
        self.end = 0;
        Ok(())
    }

    /// Removes it.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }
}

/// A segment that a process has left behind, and that this one has taken hold of.
pub(super) struct Abandoned {
    path: PathBuf,
    /// Locked for as long as it is open.
    _file: File,
    bytes: Vec<u8>,
}

impl Abandoned {
    /// `None` when somebody still writes it, or it is gone: its process ended, or another one has seen to it.
    pub(super) fn take(path: PathBuf) -> io::Result<Option<Self>> {
        let mut file = match File::options().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Some(Self { path, _file: file, bytes }))
    }

    /// Its records, up to the first that is not whole or not of the first one's generation.
    pub(super) fn records(&self) -> Vec<(FilePath, Record<'_>)> {
        records(&self.bytes)
    }

    /// Deletes it, once all that it remembers is on disk.
    pub(super) fn delete(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// The records of a segment, up to the first that is not whole or not of the first one's generation.
fn records(bytes: &[u8]) -> Vec<(FilePath, Record<'_>)> {
    let (mut records, mut rest, mut first) = (Vec::new(), bytes, None);
    while let Some((generation, path, record, behind)) = parse(rest) {
        if *first.get_or_insert(generation) != generation {
            break;
        }
        records.push((path, record));
        rest = behind;
    }
    records
}

/// How many records a segment of these bytes holds: as they are, and as the body of a record whose checksum is right.
#[cfg(feature = "fuzz")]
pub fn read_segment(bytes: &[u8]) -> (usize, usize) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let whole = [&length[..], &crc32fast::hash(bytes).to_le_bytes(), bytes, &[0; HEAD_BYTES]].concat();
    (records(bytes).len(), records(&whole).len())
}

/// The record that these bytes begin with: generation, path, what it says, and the bytes behind it.
fn parse(bytes: &[u8]) -> Option<(u64, FilePath, Record<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (checksum, rest) = rest.split_first_chunk()?;
    let (body, behind) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (generation, body) = body.split_first_chunk()?;
    let (kind, body) = body.split_first()?;
    let (path_length, body) = body.split_first_chunk()?;
    let (path, bytes) = body.split_at_checked(usize::from(u16::from_le_bytes(*path_length)))?;
    let record = if *kind == 0 { Record::Stored(bytes) } else { Record::Deleted };
    Some((u64::from_le_bytes(*generation), std::str::from_utf8(path).ok()?.parse().ok()?, record, behind))
}

fn fresh_generation() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}
