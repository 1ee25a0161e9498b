//! What the owner may set, and what a caller may use up.

use std::time::Duration;

/// Settings of a [`Fetcher`](crate::Fetcher).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether addresses that are not on the public internet may be opened. Right where every caller is trusted with
    /// the network that the server is in, wrong everywhere else.
    pub allow_private: bool,
    /// How many redirects are followed.
    pub max_redirects: usize,
    /// Time to look a host up, to connect, and to agree on encryption.
    pub connect_timeout: Duration,
    /// Longest silence of a host that is being read.
    pub idle_timeout: Duration,
    /// What hosts are told about who calls.
    pub user_agent: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_private: false,
            max_redirects: 5,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            user_agent: concat!("scumble/", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// How much one fetch may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body.
    pub bytes: u64,
    /// For everything together, redirects included.
    pub time: Duration,
}
