//! Where the hub is, and who asks there.

use scumble_fetch::{Pass, Url};

use crate::names::is_name;

/// A host of repositories that speaks Hugging Face's API.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Without a slash at its end.
    url: Url,
    /// The owner's token, for this host and no other.
    pass: Option<Pass>,
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
    pub fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// What is said to this host alone, where there is a token.
    pub fn pass(&self) -> Option<&Pass> {
        self.pass.as_ref()
    }

    /// Whether this is the one that everybody knows; any other was named by this machine's owner.
    pub(crate) fn is_public(&self) -> bool {
        self.address() == Self::PUBLIC
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_hub_is_the_default_and_addresses_are_checked() {
        assert_eq!(Hub::default().address(), Hub::PUBLIC);
        assert!(Hub::default().is_public());
        assert_eq!(Hub::new("http://127.0.0.1:80/hub/", None).map(|hub| hub.address().to_owned()).as_deref(), {
            Ok("http://127.0.0.1/hub")
        });
        for bad in ["huggingface.co", "ftp://hub.example", "https://me:x@hub.example", "https://hub.example/?a=b"] {
            assert!(Hub::new(bad, None).is_err(), "{bad}");
        }
        assert!(Hub::new(Hub::PUBLIC, Some("two\nlines")).is_err());
    }
}
