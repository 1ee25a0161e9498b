//! Files of tensors, checked before anything is read from them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;

use super::bytes::{Bytes, Kept};
use super::config::Config;
use super::encoding::Encoding;
use super::header::{self, Contents, LONGEST_HEADER, LONGEST_OWN_HEADER, Limits};
use super::held::{Precision, stored_dtype};
use super::loose::Named;
use super::torch;
use crate::error::{Error, Result};

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

/// More than any network that is an adapter has tensors.
const MOST_TENSORS: usize = 1 << 14;

impl Shards {
    /// Safetensors files of a checkpoint.
    pub(super) fn open(listing: PathBuf, files: Vec<(PathBuf, Bytes)>) -> Result<Self> {
        let limits = Limits { header: LONGEST_OWN_HEADER, tensors: usize::MAX };
        let mut this = Self::empty(listing);
        for (path, bytes) in files {
            let contents = header::read(&bytes, limits);
            // in a checkpoint the last of two counts
            this.add(path, bytes, contents)?;
        }
        Ok(this)
    }

    /// Safetensors files of an adapter, which hold at most so many tensors.
    pub(crate) fn open_adapter(listing: PathBuf, files: Vec<(PathBuf, Bytes)>, most: usize) -> Result<Self> {
        Self::of_adapter(listing, files, |bytes| header::read(bytes, Limits { header: LONGEST_HEADER, tensors: most }))
    }

    /// Files of an adapter, of any kind that holds tensors, told apart by their first bytes.
    pub(super) fn open_any(listing: PathBuf, files: &[PathBuf]) -> Result<Self> {
        let opened = files.iter().map(|path| Ok((path.clone(), Bytes::open(path)?)));
        Self::of_adapter(listing, opened.collect::<Result<_>>()?, |bytes| {
            if torch::is_archive(bytes) {
                Ok(Contents { tensors: torch::tensors(bytes)?, notes: HashMap::new() })
            } else {
                header::read(bytes, Limits { header: LONGEST_HEADER, tensors: MOST_TENSORS })
            }
        })
    }

    fn of_adapter(
        listing: PathBuf,
        files: Vec<(PathBuf, Bytes)>,
        contents: impl Fn(&Bytes) -> std::result::Result<Contents, String>,
    ) -> Result<Self> {
        let mut this = Self::empty(listing);
        for (path, bytes) in files {
            let found = contents(&bytes);
            if let Some(twice) = this.add(path.clone(), bytes, found)? {
                let reason = format!("its tensor {twice} is in another of the files as well");
                return Err(Error::Damaged { path, reason });
            }
        }
        Ok(this)
    }

    fn empty(listing: PathBuf) -> Self {
        Self { listing, files: Vec::new(), tensors: HashMap::new(), notes: HashMap::new() }
    }

    /// Adds a file; says which of its tensors, if any, an earlier one has too.
    fn add(
        &mut self,
        path: PathBuf,
        bytes: Bytes,
        contents: std::result::Result<Contents, String>,
    ) -> Result<Option<String>> {
        let Contents { tensors, notes } = contents.map_err(|reason| Error::Damaged { path: path.clone(), reason })?;
        let index = self.files.len();
        let mut twice = None;
        for (name, info) in tensors {
            if self.tensors.contains_key(&name) {
                twice = Some(name.clone());
            }
            self.tensors.insert(name, (index, info));
        }
        self.notes.extend(notes);
        self.files.push(Shard { path, bytes });
        Ok(twice)
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

    /// What all tensors take in memory, in bytes. One of a type that is not read takes what it takes in the file.
    pub(super) fn takes(&self, precision: &Precision) -> u64 {
        let takes = |info: &TensorInfo| {
            let count = info.shape.iter().product::<usize>() as u64;
            let held = precision.holds(&Encoding::of_safetensors(info.dtype));
            match (stored_dtype(info.dtype), held.unit()) {
                // the weights of convolutions are held in float32
                (Some(_), Some((_, size))) if precision.device.is_cpu() && info.shape.len() == 2 => count * size as u64,
                (Some(stored), _) => count * precision.becomes(stored).size_in_bytes() as u64,
                (None, _) => (info.data_offsets.1 - info.data_offsets.0) as u64,
            }
        };
        self.tensors.values().map(|(_, info)| takes(info)).sum()
    }

    /// An entry of the free-form metadata of the files' headers.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    /// File and description of a tensor.
    pub(crate) fn find(&self, name: &str) -> Option<(&Path, &TensorInfo)> {
        let (index, info) = self.tensors.get(name)?;
        Some((&self.files[*index].path, info))
    }

    /// The bytes of a tensor, to be kept.
    ///
    /// # Errors
    /// As [`Shards::bytes`].
    pub(super) fn keep(&self, name: &str) -> Result<Kept> {
        let missing = || Error::MissingTensor { file: self.listing.clone(), name: name.to_owned() };
        let (index, info) = self.tensors.get(name).ok_or_else(missing)?;
        let Shard { path, bytes } = &self.files[*index];
        let (start, end) = info.data_offsets;
        bytes.keep(start..end).map_err(|e| Error::Unreadable { path: path.clone(), reason: e.to_string() })
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// [`Error::MissingTensor`]; [`Error::Unreadable`] for a file that cannot be read any more.
    pub(crate) fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let missing = || Error::MissingTensor { file: self.listing.clone(), name: name.to_owned() };
        let (index, info) = self.tensors.get(name).ok_or_else(missing)?;
        let Shard { path, bytes } = &self.files[*index];
        let (start, end) = info.data_offsets;
        bytes.get(start..end).map_err(|e| Error::Unreadable { path: path.clone(), reason: e.to_string() })
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
