//! Where adapters may come from, and how many of them are kept: `[adapters]`, and the hub's token from the environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use scumble_worker::runner::SafetyConfig;
use scumble_worker::{Adapters, AdaptersConfig, FetchConfig, Hub, Paths, Prompts};

use super::file::File;
use super::sections::{AdaptersSection, Token};
use super::{fetch_config, place, prompts, safety, secret, units};
use crate::failure::Failure;

/// The folder in the data dir that holds what was downloaded.
const CACHE: &str = "adapters";

/// What the public hub's own programs read.
pub(super) const TOKEN: &str = "HF_TOKEN";

/// What `scumble run` needs of the settings: how pictures and adapters are read that the owner names, who makes prompts
/// longer, and what looks at pictures.
pub(crate) struct Sources {
    pub(crate) fetch: FetchConfig,
    pub(crate) adapters: Adapters,
    pub(crate) prompts: Prompts,
    pub(crate) safety: Option<Arc<SafetyConfig>>,
}

impl Sources {
    /// From the file and the environment. Whoever types the command may open all that they can open otherwise: private
    /// addresses, and every path.
    pub(crate) fn read(config: Option<&Path>, data_dir: Option<&Path>) -> Result<Self, Failure> {
        let file = File::read(config)?;
        let fetch = fetch_config(&file.fetch, &FetchConfig::default())?;
        let fetch = FetchConfig { allow_private: true, ..fetch };
        let settings = self::config(&file.adapters)?;
        // without a home nothing is kept, and what needs that says so
        let cache = place::data_dir(data_dir).ok().map(|folder| folder.join(CACHE));
        let adapters = Adapters::new(AdaptersConfig { paths: Paths::Any, cache, allow_private: true, ..settings });
        Ok(Self { fetch, adapters, prompts: prompts::open(file.prompts)?, safety: safety::config(file.safety)? })
    }
}

/// For a server.
pub(super) fn open(
    section: &AdaptersSection,
    data_dir: &Path,
    free_bytes: u64,
    allow_private: bool,
) -> Result<Adapters, Failure> {
    let cache: Option<PathBuf> = Some(data_dir.join(CACHE));
    Ok(Adapters::new(AdaptersConfig { cache, free_bytes, allow_private, ..config(section)? }))
}

pub(super) fn config(section: &AdaptersSection) -> Result<AdaptersConfig, Failure> {
    let AdaptersSection { folders, max_bytes, cache_bytes, timeout_s, fresh_s, hub, hub_token } = section;
    let default = AdaptersConfig::default();
    let token = secret::variable(TOKEN)?.or_else(|| hub_token.as_ref().map(|Token(token)| token.clone()));
    let token = token.as_deref().map(str::trim).filter(|token| !token.is_empty());
    let hub = Hub::new(hub.as_deref().unwrap_or(Hub::PUBLIC), token);
    Ok(AdaptersConfig {
        paths: Paths::Below(folders.clone()),
        max_bytes: units::bytes("[adapters] max_bytes", max_bytes.as_ref())?.unwrap_or(default.max_bytes),
        cache_bytes: units::bytes("[adapters] cache_bytes", cache_bytes.as_ref())?.unwrap_or(default.cache_bytes),
        time: units::seconds("[adapters] timeout_s", timeout_s.as_ref())?.unwrap_or(default.time),
        fresh: units::seconds("[adapters] fresh_s", fresh_s.as_ref())?.unwrap_or(default.fresh),
        hub: hub.map_err(|e| Failure::Usage(format!("[adapters] hub: {e}")))?,
        ..default
    })
}
