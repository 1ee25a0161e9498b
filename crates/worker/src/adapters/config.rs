//! What the owner may set about adapters: `[adapters]`.

use std::path::PathBuf;
use std::time::Duration;

use scumble_hub::Hub;

const GIB: u64 = 1024 * 1024 * 1024;

/// Settings of `[adapters]`.
#[derive(Clone, Debug)]
pub struct AdaptersConfig {
    /// Which paths may be named.
    pub paths: Paths,
    /// Where what was downloaded is kept. Without it nothing is downloaded.
    pub cache: Option<PathBuf>,
    /// How much of that is kept; what was not used for longest goes first.
    pub cache_bytes: u64,
    /// How much space a download leaves where the cache is.
    pub free_bytes: u64,
    /// Largest adapter.
    pub max_bytes: u64,
    /// How long all adapters of one request may take together.
    pub time: Duration,
    /// How long a download counts as new: its host is not asked again.
    pub fresh: Duration,
    /// Whether URLs may lead to addresses that are not on the public internet.
    pub allow_private: bool,
    /// Where repositories are.
    pub hub: Hub,
}

/// Which paths a caller may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Those below these folders, wherever links lead.
    Below(Vec<PathBuf>),
    /// All of them: the caller is the owner.
    Any,
}

impl Default for AdaptersConfig {
    fn default() -> Self {
        Self {
            paths: Paths::Below(Vec::new()),
            cache: None,
            cache_bytes: 64 * GIB,
            free_bytes: GIB / 4,
            max_bytes: 16 * GIB,
            time: Duration::from_secs(2 * 60 * 60),
            fresh: Duration::from_secs(10 * 60),
            allow_private: false,
            hub: Hub::default(),
        }
    }
}
