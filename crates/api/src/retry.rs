//! Which failures of an attempt are worth another one (protocol 4.1, 4.6).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Attempts of a job whose caller said nothing, the first included.
pub(crate) const ATTEMPTS: u32 = 10;

/// The kinds of failure that another attempt may survive, in fal's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 503: the runner cannot take the request now, for example for lack of memory.
    ServerError,
    /// 504: the runner took too long.
    Timeout,
    /// The runner could not be reached, or was lost.
    ConnectionError,
}

/// What the caller said about retries: `X-Fal-No-Retry` and `X-Fal-Retry-Config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryRules {
    /// None at all; wins over the rest. Direct calls are like this too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub never: bool,
    /// How many after [`Fault::ServerError`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_error: Option<u32>,
    /// How many after [`Fault::Timeout`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// How many after [`Fault::ConnectionError`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_error: Option<u32>,
}

impl RetryRules {
    /// From the two headers' values; malformed ones are as if they were not there.
    pub fn read(no_retry: Option<&str>, config: Option<&str>) -> Self {
        let never = no_retry.is_some_and(|v| ["1", "true", "yes"].iter().any(|yes| v.trim().eq_ignore_ascii_case(yes)));
        let config: Value = config.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let retries = |fault: &str| config[fault]["retries"].as_u64().and_then(|n| u32::try_from(n).ok());
        Self {
            never,
            server_error: retries("server_error"),
            timeout: retries("timeout"),
            connection_error: retries("connection_error"),
        }
    }

    /// Whether to try again after `attempts` attempts, the last of which failed like this. Nobody gets more than
    /// `most` attempts.
    pub fn again(&self, fault: Fault, attempts: u32, most: u32) -> bool {
        let asked = match fault {
            Fault::ServerError => self.server_error,
            Fault::Timeout => self.timeout,
            Fault::ConnectionError => self.connection_error,
        };
        let allowed = asked.map_or(ATTEMPTS, |retries| retries.saturating_add(1)).min(most);
        !self.never && attempts < allowed
    }
}

/// How long a job rests after so many failed attempts: half a second, doubled each time, at most half a minute.
pub fn rest_ms(attempts: u32) -> i64 {
    const FIRST: i64 = 500;
    const LONGEST: i64 = 30_000;
    (FIRST << attempts.saturating_sub(1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_which_failures_are_worth_another_attempt() {
        let usual = RetryRules::read(None, None);
        assert!(usual.again(Fault::ServerError, 9, ATTEMPTS) && !usual.again(Fault::ServerError, 10, ATTEMPTS));
        assert!(!usual.again(Fault::Timeout, 3, 3), "the owner's limit is the last word");
        let config = r#"{"timeout": {"retries": 1}, "server_error": {"retries": 0}}"#;
        let asked = RetryRules::read(Some("no"), Some(config));
        assert!(!asked.again(Fault::ServerError, 1, ATTEMPTS));
        assert!(asked.again(Fault::Timeout, 1, ATTEMPTS) && !asked.again(Fault::Timeout, 2, ATTEMPTS));
        assert!(asked.again(Fault::ConnectionError, 2, ATTEMPTS));
        for yes in ["1", "true", "YES"] {
            assert!(!RetryRules::read(Some(yes), Some(config)).again(Fault::Timeout, 1, ATTEMPTS));
        }
        for bad in ["", "{", "[]", r#"{"timeout": 1}"#, r#"{"timeout": {"retries": -1}}"#] {
            assert_eq!(RetryRules::read(None, Some(bad)), usual, "{bad}");
        }
    }

    #[test]
    fn pauses_grow_and_stop_growing() {
        let pauses: Vec<i64> = (1..=9).map(rest_ms).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(rest_ms(u32::MAX), 30_000);
    }
}
