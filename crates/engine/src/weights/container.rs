//! One file of tensors, of any kind that checkpoints come in: what is in it, by its own names.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Error as IoError;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::bytes::{Bytes, Kept};
use super::encoding::Encoding;
use super::header::{self, LONGEST_OWN_HEADER, Limits};
use super::{gguf, torch};
use crate::error::{Error, Result};

/// A file of tensors; none of its numbers has been read.
pub(crate) struct Container {
    path: PathBuf,
    bytes: Bytes,
    tensors: BTreeMap<String, Entry>,
    /// Texts that a safetensors file says of itself, free in form.
    notes: HashMap<String, String>,
    /// Whole numbers that a GGUF file says of itself.
    numbers: HashMap<String, u64>,
}

/// A tensor of the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Vec<usize>,
    /// Counted from the file's first byte.
    range: Range<usize>,
}

impl Container {
    /// Opens a file, whatever its name says.
    ///
    /// # Errors
    /// [`Error::Unreadable`]; [`Error::Damaged`] for one that is cut short, or of a kind that is not read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
        // opening a pipe would wait for somebody to write into it
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let reason = IoError::other("it is not a file").to_string();
            return Err(Error::Unreadable { path: path.to_owned(), reason });
        }
        let bytes = Bytes::map(path)?;
        let start = bytes.get(0..bytes.len().min(9)).map(Cow::into_owned).unwrap_or_default();
        // the length of a safetensors header may begin with this byte, but then a brace follows it
        let is_bare_pickle = start.first() == Some(&0x80) && start.get(8) != Some(&b'{');
        if torch::is_archive(&bytes) || is_bare_pickle {
            let reason =
                "it is a pickle, which may hold programs: checkpoints are read from safetensors and GGUF files";
            return Err(damaged(reason.into()));
        }
        if start.starts_with(gguf::MAGIC) {
            let header = bytes.get(0..bytes.len()).map_err(|e| damaged(e.to_string()))?;
            let gguf::Header { tensors, numbers } = gguf::read(&header).map_err(damaged)?;
            drop(header);
            let entry = |t: gguf::Listed| (t.name, Entry { encoding: t.encoding, shape: t.shape, range: t.range });
            let tensors = tensors.into_iter().map(entry).collect();
            return Ok(Self { path: path.to_owned(), bytes, tensors, notes: HashMap::new(), numbers });
        }
        let limits = Limits { header: LONGEST_OWN_HEADER, tensors: usize::MAX };
        let contents = header::read(&bytes, limits).map_err(damaged)?;
        let entry = |(name, info): (String, safetensors::tensor::TensorInfo)| {
            let range = info.data_offsets.0..info.data_offsets.1;
            (name, Entry { encoding: Encoding::of_safetensors(info.dtype), shape: info.shape, range })
        };
        let tensors = contents.tensors.into_iter().map(entry).collect();
        Ok(Self { path: path.to_owned(), bytes, tensors, notes: contents.notes, numbers: HashMap::new() })
    }

    /// A file of these names and shapes, of which nothing can be read.
    #[cfg(test)]
    pub(crate) fn of_shapes(path: &str, shapes: BTreeMap<String, Vec<usize>>) -> Self {
        let encoding = Encoding::Plain(candle_core::DType::BF16);
        let entry = |(name, shape)| (name, Entry { encoding: encoding.clone(), shape, range: 0..0 });
        let tensors = shapes.into_iter().map(entry).collect();
        let bytes = Bytes::Static(&[]);
        Self { path: path.into(), bytes, tensors, notes: HashMap::new(), numbers: HashMap::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    pub(super) fn note(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.numbers.get(key).copied()
    }

    /// That something is wrong with this file.
    pub(crate) fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), reason: reason.into() }
    }

    /// Bytes of a tensor, counted from its first.
    pub(super) fn bytes(&self, entry: &Entry, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        let (start, end) = (entry.range.start + range.start, entry.range.start + range.end);
        let unreadable = |reason: String| Error::Unreadable { path: self.path.clone(), reason };
        if end > entry.range.end {
            return Err(unreadable("it is too short".into()));
        }
        self.bytes.get(start..end).map_err(|e| unreadable(e.to_string()))
    }

    /// The same, to be kept.
    pub(super) fn keep(&self, entry: &Entry, range: Range<usize>) -> Result<Kept> {
        let (start, end) = (entry.range.start + range.start, entry.range.start + range.end);
        let unreadable = |reason: String| Error::Unreadable { path: self.path.clone(), reason };
        if end > entry.range.end {
            return Err(unreadable("it is too short".into()));
        }
        self.bytes.keep(start..end).map_err(|e| unreadable(e.to_string()))
    }

    /// All bytes of a tensor, where they are few.
    pub(super) fn small(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let entry = self.tensors.get(name).filter(|entry| entry.range.len() <= 1 << 16)?;
        self.bytes(entry, 0..entry.range.len()).ok()
    }
}

impl Entry {
    /// How many numbers it holds.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it is a matrix whose rows are whole ones.
    pub(super) fn is_packable(&self) -> bool {
        let columns = self.count() / self.shape.first().copied().unwrap_or(1).max(1);
        let is_whole = self.encoding.unit().is_some_and(|(values, _)| columns.is_multiple_of(values));
        is_whole && self.shape.len() > 1
    }

    pub(super) fn length(&self) -> usize {
        self.range.len()
    }
}
