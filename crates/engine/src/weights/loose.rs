//! Files beside checkpoints: adapters, in safetensors or as `torch.save` writes them, under whatever names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::held::{Precision, Weights};
use super::shards::Shards;
use crate::error::{Error, Result};

/// What a tensor of a file is called by the model that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// One tensor.
    As(String),
    /// Several of equal size, one above the other: blocks of rows.
    Rows(Vec<String>),
}

/// Tensors of an adapter's files: their names and shapes are known, none of them has been read.
pub(crate) struct Loose {
    shards: Shards,
}

impl Loose {
    /// Opens one file, or all of one set.
    pub(crate) fn open(files: &[PathBuf]) -> Result<Self> {
        let Some(listing) = files.first() else {
            return Err(Error::Unreadable { path: PathBuf::new(), reason: "it has no files".into() });
        };
        Ok(Self { shards: Shards::open_any(listing.clone(), files)? })
    }

    /// The same tensors under other names.
    pub(crate) fn named(self, rule: impl Fn(&str) -> Named) -> Result<Self> {
        Ok(Self { shards: self.shards.named(rule)? })
    }

    /// What all tensors take in memory, in bytes.
    pub(crate) fn takes(&self, precision: &Precision) -> u64 {
        self.shards.takes(precision)
    }

    /// Every name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.shards.names()
    }

    /// The file that is blamed for what is missing.
    pub(crate) fn listing(&self) -> PathBuf {
        self.shards.listing.clone()
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.shards.find(name).is_some()
    }

    /// One dimension of a tensor, as a size that the rest of a model can be measured by: 1 … 2²⁴.
    pub(crate) fn size(&self, name: &str, dimension: usize) -> Result<usize> {
        let missing = || Error::MissingTensor { file: self.shards.listing.clone(), name: name.to_owned() };
        let (path, info) = self.shards.find(name).ok_or_else(missing)?;
        let size = info.shape.get(dimension).filter(|size| (1..=1 << 24).contains(*size));
        size.copied().ok_or_else(|| Error::Damaged {
            path: path.to_owned(),
            reason: format!("tensor {name} has the impossible shape {:?}", info.shape),
        })
    }

    /// One dimension of a tensor, where a model of any use has at most so many of `what`.
    ///
    /// # Errors
    /// As [`Loose::size`], and [`Error::Unsupported`] for more.
    pub(crate) fn size_within(&self, name: &str, dimension: usize, what: &str, most: usize) -> Result<usize> {
        let size = self.size(name, dimension)?;
        self.within(what, size, most)
    }

    /// A number of something in these files, where a model of any use has at most so many.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for more.
    pub(crate) fn within(&self, what: &str, size: usize, most: usize) -> Result<usize> {
        if size <= most {
            return Ok(size);
        }
        let (path, supported) = (self.listing(), format!("at most {most}"));
        Err(Error::Unsupported { path, key: what.to_owned(), value: size.to_string(), supported })
    }

    /// How many blocks there are: whether `name(0)`, `name(1)`, … is in the files.
    pub(crate) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|i| self.has(&name(*i))).count()
    }

    /// To be read.
    pub(crate) fn weights(self, precision: &Precision) -> Weights {
        Weights::of(Arc::new(self.shards), precision)
    }
}

/// What a listing of names and shapes becomes under a rule; for comparing published files with what a model asks for.
pub fn renamed(shapes: &BTreeMap<String, Vec<usize>>, rule: impl Fn(&str) -> Named) -> BTreeMap<String, Vec<usize>> {
    let mut result = BTreeMap::new();
    for (name, shape) in shapes {
        match rule(name) {
            Named::As(name) => {
                result.insert(name, shape.clone());
            }
            Named::Rows(names) => {
                let mut part = shape.clone();
                if let Some(rows) = part.first_mut() {
                    *rows /= names.len().max(1);
                }
                result.extend(names.into_iter().map(|name| (name, part.clone())));
            }
        }
    }
    result
}
