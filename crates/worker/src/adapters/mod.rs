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
mod head;
mod hub;
mod part;
mod room;
mod source;
mod sweep;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scumble_fetch::Fetcher;

use cache::Cache;
pub use config::{AdaptersConfig, Paths};
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
        match Source::parse(source, &self.config) {
            Ok(Source::Url(_)) => true,
            Ok(Source::Repository(repository)) => {
                repository.or_path.is_none_or(|path| !folder::is_there(path.as_ref(), &self.config.paths))
            }
            Ok(Source::Data | Source::Kept | Source::Path(_)) | Err(_) => false,
        }
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
    let text = unsigned(text.trim());
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", escaped(&text[..end])),
        None => escaped(&text),
    }
}

/// A URL without what may be a secret: what is behind a question mark may be a signature, and what is before an at sign a
/// password. Other text as it is.
fn unsigned(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, rest)| is_web(scheme) || rest.starts_with("//"))
    else {
        return text.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let host = rest.trim_start_matches(['/', '\\']);
    let slashes = &rest[..rest.len() - host.len()];
    let (host, path) = host.find(['/', '\\']).map_or((host, ""), |at| host.split_at(at));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}:{slashes}{host}{path}")
}

fn is_web(scheme: &str) -> bool {
    ["http", "https"].iter().any(|web| scheme.trim().eq_ignore_ascii_case(web))
}

/// Text for people, whoever has written it: signs that move the cursor, or turn the direction of what stands around them,
/// are written by their numbers.
fn escaped(text: &str) -> String {
    let is_turning = |c: char| matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_turning(c) { escaped.extend(c.escape_unicode()) } else { escaped.push(c) }
    }
    escaped
}

/// Whether text is a data URI.
fn is_data(text: &str) -> bool {
    const DATA: &str = "data:";
    text.trim_start().get(..DATA.len()).is_some_and(|start| start.eq_ignore_ascii_case(DATA))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret_and_turns_nothing_around() {
        for (text, expected) in [
            ("https://far.example/a.safetensors?sig=s3cret#x", "https://far.example/a.safetensors"),
            ("HTTP:far.example/a?sig=s3cret", "HTTP:far.example/a"),
            ("https://me:s3cret@far.example/a@b", "https://far.example/a@b"),
            ("owner/name", "owner/name"),
            ("C:\\a?b", "C:\\a?b"),
            (" a\u{202e}b\n\u{1b}[2J ", "a\\u{202e}b\\u{a}\\u{1b}[2J"),
            ("data:;base64,AA==", "the data URI"),
            ("", ""),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
        assert_eq!(shown(&"ä".repeat(300)).chars().count(), 201);
    }
}
