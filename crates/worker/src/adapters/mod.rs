//! Adapters that callers name: LoRAs, ControlNets, IP-Adapters, from a repository, a URL, a path or the input itself to
//! files on this machine.
//!
//! What is far away is downloaded once, into a folder with a limit; the next call has it from there.

mod cache;
mod choice;
mod config;
mod download;
mod folder;
mod format;
mod given;
mod hub;
mod source;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scumble_fetch::Fetcher;

use cache::Cache;
pub use config::{AdaptersConfig, Hub, Paths};
pub use given::GivenAdapter;
use source::Source;
use trouble::Trouble;

/// Finds adapters for callers. Cheap to clone; clones share what is downloaded and what is being downloaded.
#[derive(Clone)]
pub struct Adapters {
    config: Arc<AdaptersConfig>,
    fetcher: Fetcher,
    cache: Option<Arc<Cache>>,
}

/// Longest silence of a host.
const SILENCE: Duration = Duration::from_secs(60);

impl Adapters {
    /// With these settings. Nothing is opened yet.
    pub fn new(config: AdaptersConfig) -> Self {
        let allow_private = config.allow_private;
        let fetch = scumble_fetch::Config { allow_private, idle_timeout: SILENCE, ..Default::default() };
        let cache = config.cache.clone().map(|folder| Cache::new(folder, config.cache_bytes, config.free_bytes));
        Self { fetcher: Fetcher::new(fetch), cache: cache.map(Arc::new), config: Arc::new(config) }
    }

    /// The settings.
    pub fn config(&self) -> &AdaptersConfig {
        &self.config
    }

    fn cache(&self) -> Result<&Cache, Trouble> {
        self.cache.as_deref().ok_or_else(|| Trouble::unread("this server has no folder for what it downloads"))
    }

    /// Whether what is named has to be fetched from elsewhere.
    pub(crate) fn is_far(&self, source: &str) -> bool {
        matches!(Source::parse(source, &self.config), Ok(Source::Url(_) | Source::Repository(_)))
    }
}

impl Default for Adapters {
    fn default() -> Self {
        Self::new(AdaptersConfig::default())
    }
}

impl fmt::Debug for Adapters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Adapters({:?})", self.config)
    }
}

/// What a caller wrote, short enough for a message.
fn shown(text: &str) -> String {
    const LENGTH: usize = 200;
    if is_data(text) || text.starts_with(scumble_api::FILE_SCHEME) {
        return "the data URI".to_owned();
    }
    // what is behind a question mark may be a signature
    let text = if text.contains("://") { text.split('?').next().unwrap_or_default() } else { text };
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether text is a data URI.
fn is_data(text: &str) -> bool {
    const DATA: &str = "data:";
    text.trim_start().get(..DATA.len()).is_some_and(|start| start.eq_ignore_ascii_case(DATA))
}
