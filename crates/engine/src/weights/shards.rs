//! Files of tensors, mapped into memory and checked before anything is read from them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::TensorInfo;

use super::config::Config;
use super::loose::Named;
use super::torch;
use crate::error::{Error, Result};

/// A file's contents: mapped, or part of the program.
pub(crate) enum Bytes {
    Mapped(memmap2::Mmap),
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps a file for reading.
    #[expect(unsafe_code, reason = "memory-mapping is how 24 GB of weights are opened in milliseconds")]
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let unreadable = |e: std::io::Error| Error::Unreadable { path: path.to_owned(), reason: e.to_string() };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        // SAFETY: the map is read-only and private to this value. A file that another process cuts short while it is
        // mapped would fault on access; like every program that maps weights, we ask owners not to do that.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(unreadable)?;
        Ok(Self::Mapped(map))
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

struct Shard {
    path: PathBuf,
    bytes: Bytes,
}

/// The files of one component and what is in them.
pub(crate) struct Shards {
    /// The single file or the index: what a missing tensor is blamed on.
    pub(crate) listing: PathBuf,
    files: Vec<Shard>,
    /// By name: which file, and where in it, counted from its first byte.
    tensors: HashMap<String, (usize, TensorInfo)>,
    /// What the files say of themselves, free in form.
    notes: HashMap<String, String>,
}

/// What is in one file.
struct Contents {
    tensors: Vec<(String, TensorInfo)>,
    notes: HashMap<String, String>,
}

impl Shards {
    /// Safetensors files.
    pub(crate) fn open(listing: PathBuf, files: Vec<(PathBuf, Bytes)>) -> Result<Self> {
        Self::read(listing, files, safetensors_of)
    }

    /// Files of any kind that holds tensors, told apart by their first bytes.
    pub(super) fn open_any(listing: PathBuf, files: &[PathBuf]) -> Result<Self> {
        let mapped = files.iter().map(|path| Ok((path.clone(), Bytes::map(path)?)));
        Self::read(listing, mapped.collect::<Result<_>>()?, |bytes| {
            if torch::is_archive(bytes) {
                Ok(Contents { tensors: torch::tensors(bytes)?, notes: HashMap::new() })
            } else {
                safetensors_of(bytes)
            }
        })
    }

    fn read(
        listing: PathBuf,
        files: Vec<(PathBuf, Bytes)>,
        contents: impl Fn(&[u8]) -> std::result::Result<Contents, String>,
    ) -> Result<Self> {
        let mut this = Self { listing, files: Vec::new(), tensors: HashMap::new(), notes: HashMap::new() };
        for (index, (path, bytes)) in files.into_iter().enumerate() {
            let found = contents(bytes.as_slice());
            let found = found.map_err(|reason| Error::Damaged { path: path.clone(), reason })?;
            this.tensors.extend(found.tensors.into_iter().map(|(name, info)| (name, (index, info))));
            this.notes.extend(found.notes);
            this.files.push(Shard { path, bytes });
        }
        Ok(this)
    }

    /// The same tensors under other names, some of them cut into blocks of rows.
    pub(super) fn named(self, rule: impl Fn(&str) -> Named) -> Result<Self> {
        let Self { listing, files, tensors, notes } = self;
        let mut renamed = HashMap::new();
        for (old, (index, info)) in tensors {
            let damaged = |reason: String| Error::Damaged { path: files[index].path.clone(), reason };
            let parts = match rule(&old) {
                Named::As(name) => vec![(name, info)],
                Named::Rows(names) => {
                    let uneven =
                        || damaged(format!("tensor {old} of shape {:?} is not made of equal parts", info.shape));
                    rows(&info, names).ok_or_else(uneven)?
                }
            };
            for (name, info) in parts {
                if renamed.insert(name.clone(), (index, info)).is_some() {
                    return Err(damaged(format!("it has the tensor {name} twice, under two names")));
                }
            }
        }
        Ok(Self { listing, files, tensors: renamed, notes })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// How many numbers all tensors hold.
    pub(super) fn numbers(&self) -> u64 {
        self.tensors.values().map(|(_, info)| info.shape.iter().product::<usize>() as u64).sum()
    }

    /// An entry of the free-form metadata of the files' headers.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    /// File, description and bytes of a tensor.
    pub(crate) fn find(&self, name: &str) -> Option<(&Path, &TensorInfo, &[u8])> {
        let (index, info) = self.tensors.get(name)?;
        let shard = &self.files[*index];
        let (start, end) = info.data_offsets;
        Some((&shard.path, info, &shard.bytes.as_slice()[start..end]))
    }
}

/// A tensor cut into as many blocks of rows as there are names.
fn rows(info: &TensorInfo, names: Vec<String>) -> Option<Vec<(String, TensorInfo)>> {
    let (first, (start, end)) = (*info.shape.first()?, info.data_offsets);
    let count = names.len();
    if count == 0 || !first.is_multiple_of(count) || !(end - start).is_multiple_of(count) {
        return None;
    }
    let each = (end - start) / count;
    let part = |(i, name): (usize, String)| {
        let mut part = TensorInfo { data_offsets: (start + i * each, start + (i + 1) * each), ..info.clone() };
        part.shape[0] = first / count;
        (name, part)
    };
    Some(names.into_iter().enumerate().map(part).collect())
}

/// What is in a safetensors file, with places counted from its first byte.
fn safetensors_of(bytes: &[u8]) -> std::result::Result<Contents, String> {
    // `deserialize` checks header, offsets and total length; a file cut short ends here, not in a page fault
    SafeTensors::deserialize(bytes).map_err(|e| format!("it is not a valid safetensors file: {e}"))?;
    let read = SafeTensors::read_metadata(bytes);
    let (header, metadata) = read.map_err(|e| format!("its header is not valid: {e}"))?;
    let data = header + 8;
    let place = |(name, info): (String, &TensorInfo)| {
        let (start, end) = info.data_offsets;
        (name, TensorInfo { data_offsets: (data + start, data + end), ..info.clone() })
    };
    let tensors = metadata.tensors().into_iter().map(place).collect();
    Ok(Contents { tensors, notes: metadata.metadata().clone().unwrap_or_default() })
}

/// The shard files that an index names, in order, each a plain file name.
pub(super) fn shard_names(index: &Config) -> Result<Vec<String>> {
    let damaged = |reason: &str| Error::Damaged { path: index.path().to_owned(), reason: reason.into() };
    let map = index.get("weight_map").and_then(|v| v.as_object()).ok_or_else(|| damaged("it has no weight_map"))?;
    let mut names = BTreeSet::new();
    for file in map.values() {
        let name = file.as_str().ok_or_else(|| damaged("weight_map holds something that is not a file name"))?;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(damaged("weight_map points outside its folder"));
        }
        names.insert(name.to_owned());
    }
    Ok(names.into_iter().collect())
}
