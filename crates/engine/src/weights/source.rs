//! A pipeline on disk: diffusers' folder layout, or the same files embedded in the binary.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::Bytes;
use super::config::Config;
use super::findings::Findings;
use super::held::{Precision, Weights};
use super::shards::{self, Shards};
use crate::error::{Error, Result};
use crate::stages::{DIFFUSERS, TRANSFORMERS};

/// A file that travels inside the binary: its path in the checkpoint, with `/`, and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// Where a checkpoint's files are.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder in the diffusers layout.
    Folder(PathBuf),
    /// The same, and where the model is that its repository leaves out: Llama 3.1, for HiDream-I1.
    FolderAndLlama {
        /// In the diffusers layout.
        folder: PathBuf,
        /// Llama's own repository.
        llama: PathBuf,
    },
    /// Files of the same layout, linked into the program; the name stands for the folder in messages.
    Embedded {
        /// Shown where a folder's path would be.
        name: &'static str,
        /// Every file of the checkpoint.
        files: &'static [EmbeddedFile],
    },
}

impl Source {
    /// The folder in the diffusers layout, where it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) | Self::FolderAndLlama { folder, .. } => Some(folder),
            Self::Embedded { .. } => None,
        }
    }
}

/// An opened checkpoint: nothing but `model_index.json` has been read yet.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    source: Source,
    class: String,
    /// Where tensors are looked at, not read: takes what is wrong with them.
    findings: Option<Findings>,
}

impl Checkpoint {
    /// Opens a checkpoint and reads which pipeline class it holds.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] where there is no readable `model_index.json` with a `_class_name`.
    pub fn open(source: Source) -> Result<Self> {
        let mut this = Self { source, class: String::new(), findings: None };
        let refuse = |reason: &str| Error::NotACheckpoint { folder: this.root(), reason: reason.into() };
        if let Some(folder) = this.source.folder()
            && !folder.is_dir()
        {
            return Err(refuse(if folder.exists() { "it is a file, not a folder" } else { "there is no such folder" }));
        }
        if !this.has("model_index.json") {
            return Err(refuse("model_index.json is missing"));
        }
        let index = this.config("model_index.json")?;
        let class = index.text("_class_name").map_err(|_| refuse("model_index.json has no _class_name"))?;
        this.class = class.to_owned();
        Ok(this)
    }

    /// The same checkpoint, to be looked at: of its tensors only names, shapes and types are read, and zeros without storage
    /// stand for them. What is wrong with them ends in [`Checkpoint::findings`].
    #[must_use]
    pub fn examined(self) -> Self {
        Self { findings: Some(Findings::default()), ..self }
    }

    /// What was found wrong with tensors since, all of it.
    pub fn findings(&self) -> Vec<Error> {
        self.findings.as_ref().map(Findings::take).unwrap_or_default()
    }

    /// `_class_name` of `model_index.json`, such as `FluxPipeline`.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// The folder, or the name that stands for it.
    pub fn root(&self) -> PathBuf {
        match &self.source {
            Source::Folder(folder) | Source::FolderAndLlama { folder, .. } => folder.clone(),
            Source::Embedded { name, .. } => PathBuf::from(name),
        }
    }

    /// Where a file of the checkpoint is, for messages.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    /// Whether `model_index.json` names a component of this name. One that was left out is absent, or `[null, null]`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] or [`Error::Damaged`], where the index is gone by now.
    pub fn names(&self, component: &str) -> Result<bool> {
        let index = self.config("model_index.json")?;
        let named = index.get(component).and_then(|entry| entry.as_array());
        Ok(named.is_some_and(|entry| !entry.iter().any(serde_json::Value::is_null)))
    }

    /// How many numbers all its weights hold: what they take in memory is this times the size of one.
    ///
    /// # Errors
    /// As [`Checkpoint::weights`].
    pub fn numbers(&self) -> Result<u64> {
        let index = self.config("model_index.json")?;
        let mut sum = 0;
        for component in index.keys() {
            for base in [DIFFUSERS, TRANSFORMERS] {
                if ["", ".index.json"].iter().any(|end| self.has(&format!("{component}/{base}.safetensors{end}"))) {
                    sum += self.shards(component, base)?.numbers();
                }
            }
        }
        Ok(sum)
    }

    /// How many numbers the weights of one component hold.
    ///
    /// # Errors
    /// As [`Checkpoint::weights`].
    pub(crate) fn numbers_of(&self, component: &str, base: &str) -> Result<u64> {
        Ok(self.shards(component, base)?.numbers())
    }

    /// A folder that stands beside this checkpoint's, for a part that its repository leaves out; looked at as this one is.
    pub(crate) fn beside(&self, name: &str) -> Option<Self> {
        let other = self.source.folder()?.parent()?.join(name);
        other.is_dir().then(|| Self { source: Source::Folder(other), ..self.clone() })
    }

    /// The folder that its owner names for Llama, looked at as this checkpoint is.
    pub(crate) fn llama(&self) -> Option<Self> {
        let Source::FolderAndLlama { llama, .. } = &self.source else { return None };
        Some(Self { source: Source::Folder(llama.clone()), ..self.clone() })
    }

    /// Whether the checkpoint has this file.
    pub fn has(&self, file: &str) -> bool {
        match &self.source {
            Source::Folder(folder) | Source::FolderAndLlama { folder, .. } => folder.join(file).is_file(),
            Source::Embedded { files, .. } => files.iter().any(|(name, _)| *name == file),
        }
    }

    /// The whole of a small file.
    ///
    /// # Errors
    /// [`Error::Unreadable`] with the file's path.
    pub fn read(&self, file: &str) -> Result<Cow<'static, [u8]>> {
        match &self.source {
            Source::Folder(folder) | Source::FolderAndLlama { folder, .. } => {
                read_file(&folder.join(file)).map(Cow::Owned)
            }
            Source::Embedded { .. } => self.embedded(file).map(Cow::Borrowed),
        }
    }

    /// A JSON configuration.
    ///
    /// # Errors
    /// [`Error::Unreadable`] or [`Error::Damaged`].
    pub fn config(&self, file: &str) -> Result<Config> {
        Config::parse(self.path(file), &self.read(file)?)
    }

    /// The tensors of one component: `<component>/<base>.safetensors`, or the shards its index names.
    ///
    /// # Errors
    /// [`Error::Unreadable`] where neither is there, [`Error::Damaged`] where a file is not what it should be.
    pub fn weights(&self, component: &str, base: &str, precision: &Precision) -> Result<Weights> {
        let weights = Weights::of(Arc::new(self.shards(component, base)?), precision);
        Ok(self.findings.as_ref().map_or_else(|| weights.clone(), |findings| weights.examined(findings)))
    }

    fn shards(&self, component: &str, base: &str) -> Result<Shards> {
        let single = format!("{component}/{base}.safetensors");
        let index = format!("{single}.index.json");
        if self.has(&index) && !self.has(&single) {
            let names = shards::shard_names(&self.config(&index)?)?;
            let files = names.iter().map(|name| self.map(&format!("{component}/{name}")));
            return Shards::open(self.path(&index), files.collect::<Result<_>>()?);
        }
        Shards::open(self.path(&single), vec![self.map(&single)?])
    }

    fn map(&self, file: &str) -> Result<(PathBuf, Bytes)> {
        let bytes = match &self.source {
            Source::Folder(folder) | Source::FolderAndLlama { folder, .. } => Bytes::map(&folder.join(file))?,
            Source::Embedded { .. } => Bytes::Static(self.embedded(file)?),
        };
        Ok((self.path(file), bytes))
    }

    fn embedded(&self, file: &str) -> Result<&'static [u8]> {
        let Source::Embedded { files, .. } = &self.source else {
            return Err(unreadable(&self.path(file), "it is not embedded"));
        };
        let found = files.iter().find(|(name, _)| *name == file);
        found.map(|(_, bytes)| *bytes).ok_or_else(|| unreadable(&self.path(file), "it is not embedded"))
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| unreadable(path, &e.to_string()))
}

fn unreadable(path: &Path, reason: &str) -> Error {
    Error::Unreadable { path: path.to_owned(), reason: reason.to_owned() }
}
