//! The files of a checker.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::weights::{Config, Loose};

/// What is in its folder.
pub(super) struct Files {
    pub(super) config: Config,
    pub(super) preprocessor: Option<Config>,
    pub(super) tensors: Loose,
}

impl Files {
    /// Reads the configurations, and what tensors there are.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let config = folder.join("config.json");
        let preprocessor = folder.join("preprocessor_config.json");
        Ok(Self {
            config: Config::parse(config.clone(), &bytes(&config)?)?,
            preprocessor: match preprocessor.is_file() {
                true => Some(Config::parse(preprocessor.clone(), &bytes(&preprocessor)?)?),
                false => None,
            },
            tensors: Loose::open(&[weights(folder)?])?,
        })
    }
}

/// The file of its tensors: safetensors where there are both.
fn weights(folder: &Path) -> Result<PathBuf> {
    const NAMES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
    let found = NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Error::Unreadable {
        path: folder.join(NAMES[0]),
        reason: format!("there is neither this nor {}", NAMES[1]),
    })
}

/// Configurations are small; something else under such a name is not read into memory.
const LARGEST: u64 = 1 << 20;

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |e: std::io::Error| Error::Unreadable { path: path.to_owned(), reason: e.to_string() };
    if std::fs::metadata(path).map_err(unreadable)?.len() > LARGEST {
        return Err(Error::Damaged { path: path.to_owned(), reason: format!("it has more than {LARGEST} bytes") });
    }
    std::fs::read(path).map_err(unreadable)
}
