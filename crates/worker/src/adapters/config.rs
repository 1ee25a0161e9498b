//! What the owner may set about adapters: `[adapters]`.

use std::path::PathBuf;
use std::time::Duration;

use scumble_fetch::{Pass, Url};

use super::source::is_name;

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

/// A host of repositories that speaks Hugging Face's API.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Without a slash at its end.
    pub(super) url: Url,
    /// The owner's token, for this host and no other.
    pub(super) pass: Option<Pass>,
}

impl Hub {
    /// The public one.
    pub const PUBLIC: &str = "https://huggingface.co";

    /// At this address, with a token if there is one.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(url: &str, token: Option<&str>) -> Result<Self, String> {
        let parsed = scumble_fetch::check_target(url, true).map_err(|e| format!("the address {url:?}: {e}"))?;
        if parsed.query().is_some() {
            return Err(format!("the address {url:?} has a query; give the address of the hub alone"));
        }
        let pass = token.map(|token| Pass::bearer(url, token)).transpose().map_err(|e| format!("the token: {e}"))?;
        let pass = pass.map(|pass| pass.only(is_of_repository));
        Ok(Self { url: parsed, pass })
    }

    /// As the owner wrote it, without a slash at its end.
    pub(super) fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

/// Whether a path of the hub is one of a repository of models, or where the hub sends those who ask for such a file.
fn is_of_repository(parts: &[&str]) -> bool {
    match parts {
        [owner, name, "resolve", _, _, ..]
        | ["api", "models", owner, name, ..]
        | ["api", "resolve-cache", "models", owner, name, ..] => is_name(owner) && is_name(name),
        _ => false,
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self { url: PUBLIC.clone(), pass: None }
    }
}

#[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
static PUBLIC: std::sync::LazyLock<Url> = std::sync::LazyLock::new(|| Url::parse(Hub::PUBLIC).expect("a URL"));

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
