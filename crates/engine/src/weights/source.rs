//! A pipeline on disk: diffusers' folder layout, or the same files embedded in the binary.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bytes::Bytes;
use super::config::Config;
use super::findings::Findings;
use super::held::{Precision, Weights};
use super::part::Part;
use super::shards::{self, Shards};
use crate::error::{Error, Result};
use crate::families::layouts::{Assembled, Given};
use crate::observer::Reading;
use crate::stages::{DIFFUSERS, TRANSFORMERS};

/// A file that travels inside the binary: its path in the checkpoint, with `/`, and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// Where a checkpoint's files are.
#[derive(Clone, Debug)]
pub enum Source {
    /// A folder in the diffusers layout, or one file that holds a transformer and maybe more.
    Folder(PathBuf),
    /// Components from several places.
    Assembled(Assembly),
    /// Files of the same layout, linked into the program; the name stands for the folder in messages.
    Embedded {
        /// Shown where a folder's path would be.
        name: &'static str,
        /// Every file of the checkpoint.
        files: &'static [EmbeddedFile],
    },
}

/// Weights in several places, as an owner names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Assembly {
    /// A diffusers folder, or a file that holds a transformer and maybe more.
    pub weights: PathBuf,
    /// A diffusers folder for what that lacks.
    pub base: Option<PathBuf>,
    /// Files or folders of single components, by their names in diffusers' layout; they count before all else.
    pub components: BTreeMap<String, PathBuf>,
    /// Folders of tokenizers that are nowhere else, by their names.
    pub tokenizers: BTreeMap<String, PathBuf>,
}

impl Source {
    /// Where an owner says that weights are.
    pub fn of(weights: PathBuf, base: Option<PathBuf>, components: BTreeMap<String, PathBuf>) -> Self {
        match base.is_none() && components.is_empty() {
            true => Self::Folder(weights),
            false => Self::Assembled(Assembly { weights, base, components, tokenizers: BTreeMap::new() }),
        }
    }

    /// The same, where it is a file, with folders of tokenizers that count where neither a base nor the file's own folder has
    /// one of that name.
    #[must_use]
    pub fn with_tokenizers(self, tokenizers: &BTreeMap<String, PathBuf>) -> Self {
        match self.assembly().filter(|assembly| !tokenizers.is_empty() && assembly.weights.is_file()) {
            Some(assembly) => Self::Assembled(Assembly { tokenizers: tokenizers.clone(), ..assembly }),
            None => self,
        }
    }

    /// What is to be put together, where it is not one folder.
    fn assembly(&self) -> Option<Assembly> {
        match self {
            Self::Folder(path) if path.is_file() => Some(Assembly { weights: path.clone(), ..Assembly::default() }),
            Self::Assembled(assembly) => Some(assembly.clone()),
            Self::Folder(_) | Self::Embedded { .. } => None,
        }
    }
}

/// An opened checkpoint: nothing but `model_index.json` has been read yet.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    source: Source,
    class: String,
    /// Where components are that do not come from one folder.
    assembled: Option<Arc<Assembled>>,
    /// Where tensors are looked at, not read: takes what is wrong with them.
    findings: Option<Findings>,
    /// Who hears how the reading goes on.
    reading: Option<Heard>,
}

/// Whoever hears of a reading.
#[derive(Clone)]
struct Heard(Arc<dyn Reading>);

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Heard(…)")
    }
}

impl Checkpoint {
    /// Opens a checkpoint and reads which pipeline class it holds.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] where there is no readable `model_index.json` with a `_class_name`; what is wrong with files
    /// that hold components.
    pub fn open(source: Source) -> Result<Self> {
        let assembled = source.assembly().map(|assembly| Assembled::of(&assembly)).transpose()?.map(Arc::new);
        let class = assembled.as_ref().map(|assembled| assembled.class().to_owned()).unwrap_or_default();
        let mut this = Self { source, class, assembled, findings: None, reading: None };
        if this.assembled.is_some() {
            return Ok(this);
        }
        let refuse = |reason: &str| Error::NotACheckpoint { folder: this.root(), reason: reason.into() };
        if let Source::Folder(folder) = &this.source
            && !folder.is_dir()
        {
            let exists = folder.exists();
            return Err(refuse(if exists {
                "it is neither a file nor a folder"
            } else {
                "there is no such file or folder"
            }));
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

    /// The same checkpoint, whose reading somebody hears and may stop.
    #[must_use]
    pub fn heard_by(self, reading: Arc<dyn Reading>) -> Self {
        Self { reading: Some(Heard(reading)), ..self }
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
            Source::Folder(folder) => folder.clone(),
            Source::Assembled(assembly) => assembly.weights.clone(),
            Source::Embedded { name, .. } => PathBuf::from(name),
        }
    }

    /// Where a file of the checkpoint is, for messages.
    pub fn path(&self, file: &str) -> PathBuf {
        self.assembled.as_ref().map_or_else(|| self.root().join(file), |assembled| assembled.path(file))
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

    /// What the weights of each component take in memory, in bytes.
    ///
    /// # Errors
    /// As [`Checkpoint::weights`].
    pub(crate) fn takes(&self, precision: &Precision) -> Result<Vec<(String, u64)>> {
        let index = self.config("model_index.json")?;
        let mut parts = Vec::new();
        for component in index.keys() {
            if let Some(part) = self.part(component) {
                parts.push((component.to_owned(), part?.takes(precision)));
                continue;
            }
            for base in [DIFFUSERS, TRANSFORMERS] {
                if ["", ".index.json"].iter().any(|end| self.has(&format!("{component}/{base}.safetensors{end}"))) {
                    parts.push((component.to_owned(), self.shards(component, base)?.takes(precision)));
                }
            }
        }
        Ok(parts)
    }

    /// What the weights of one component take in memory, in bytes.
    ///
    /// # Errors
    /// As [`Checkpoint::weights`].
    pub(crate) fn takes_of(&self, component: &str, base: &str, precision: &Precision) -> Result<u64> {
        match self.part(component) {
            Some(part) => Ok(part?.takes(precision)),
            None => Ok(self.shards(component, base)?.takes(precision)),
        }
    }

    /// A folder that stands beside this checkpoint's, for a part that its repository leaves out; looked at as this one is.
    pub(crate) fn beside(&self, name: &str) -> Option<Self> {
        let other = match (&self.assembled, &self.source) {
            (Some(assembled), _) => assembled.folder_beside(name)?,
            (None, Source::Folder(folder)) => folder.parent()?.join(name),
            (None, _) => return None,
        };
        other.is_dir().then(|| Self { source: Source::Folder(other), assembled: None, ..self.clone() })
    }

    /// Whether the checkpoint has this file.
    pub fn has(&self, file: &str) -> bool {
        match (&self.assembled, &self.source) {
            (Some(assembled), _) => assembled.made(file).is_some() || assembled.locate(file).is_some(),
            (None, Source::Embedded { files, .. }) => files.iter().any(|(name, _)| *name == file),
            (None, _) => self.root().join(file).is_file(),
        }
    }

    /// The whole of a small file.
    ///
    /// # Errors
    /// [`Error::Unreadable`] with the file's path.
    pub fn read(&self, file: &str) -> Result<Cow<'static, [u8]>> {
        match (&self.assembled, &self.source) {
            (Some(assembled), _) => match assembled.made(file) {
                Some(made) => Ok(Cow::Owned(made.to_vec())),
                None => read_file(&assembled.locate(file).ok_or_else(|| assembled.missing(file))?).map(Cow::Owned),
            },
            (None, Source::Embedded { .. }) => self.embedded(file).map(Cow::Borrowed),
            (None, _) => read_file(&self.root().join(file)).map(Cow::Owned),
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
        let weights = match self.part(component) {
            Some(part) => Weights::of_part(Arc::new(part?), precision),
            None => Weights::of(Arc::new(self.shards(component, base)?), precision),
        };
        let weights = self.reading.as_ref().map_or_else(|| weights.clone(), |Heard(reading)| weights.heard_by(reading));
        Ok(self.findings.as_ref().map_or_else(|| weights.clone(), |findings| weights.examined(findings)))
    }

    /// A component that is in a file with others, or of other names: opened for this one reading, so that no file stays mapped
    /// that nobody reads.
    fn part(&self, component: &str) -> Option<Result<Part>> {
        match self.assembled.as_ref()?.given(component)? {
            Given::File(part) => Some(part.open()),
            Given::Folder(_) => None,
        }
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
        let bytes = match (&self.assembled, &self.source) {
            (Some(assembled), _) => Bytes::map(&assembled.locate(file).ok_or_else(|| assembled.missing(file))?)?,
            (None, Source::Embedded { .. }) => Bytes::Static(self.embedded(file)?),
            (None, _) => Bytes::map(&self.root().join(file))?,
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
