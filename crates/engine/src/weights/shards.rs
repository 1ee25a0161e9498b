//! Safetensors files, mapped into memory and checked before anything is read from them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorInfo};

use super::config::Config;
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
    metadata: Metadata,
    data: usize,
}

/// The files of one component and which of them holds each tensor.
pub(crate) struct Shards {
    /// The single file or the index: what a missing tensor is blamed on.
    pub(crate) listing: PathBuf,
    files: Vec<Shard>,
    holder: HashMap<String, usize>,
}

impl Shards {
    pub(crate) fn open(listing: PathBuf, files: Vec<(PathBuf, Bytes)>) -> Result<Self> {
        let files: Vec<Shard> =
            files.into_iter().map(|(path, bytes)| Shard::open(path, bytes)).collect::<Result<_>>()?;
        let mut holder = HashMap::new();
        for (index, shard) in files.iter().enumerate() {
            for name in shard.metadata.tensors().into_keys() {
                holder.insert(name, index);
            }
        }
        Ok(Self { listing, files, holder })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.holder.keys().map(String::as_str)
    }

    /// An entry of the free-form metadata of the files' headers.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.files.iter().find_map(|shard| Some(shard.metadata.metadata().as_ref()?.get(key)?.as_str()))
    }

    /// File, description and bytes of a tensor.
    pub(crate) fn find(&self, name: &str) -> Option<(&Path, &TensorInfo, &[u8])> {
        let shard = &self.files[*self.holder.get(name)?];
        let info = shard.metadata.info(name)?;
        let (start, end) = info.data_offsets;
        Some((&shard.path, info, &shard.bytes.as_slice()[shard.data + start..shard.data + end]))
    }
}

impl Shard {
    fn open(path: PathBuf, bytes: Bytes) -> Result<Self> {
        let damaged = |reason: String| Error::Damaged { path: path.clone(), reason };
        // `deserialize` checks header, offsets and total length; a file cut short ends here, not in a page fault
        SafeTensors::deserialize(bytes.as_slice())
            .map_err(|e| damaged(format!("it is not a valid safetensors file: {e}")))?;
        let (header, metadata) = SafeTensors::read_metadata(bytes.as_slice())
            .map_err(|e| damaged(format!("its header is not valid: {e}")))?;
        Ok(Self { data: header + 8, path, bytes, metadata })
    }
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
