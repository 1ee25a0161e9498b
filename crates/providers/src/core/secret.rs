//! Keys, in a type that does not print.

use std::fmt;

use scumble_fetch::HeaderValue;
use serde::Deserialize;

/// A maker's key. Neither `Debug` nor anything else shows it; it goes into headers, signatures and nowhere else.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// From what the owner wrote; spaces around it are not part of a key.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// The key itself, for those who sign or send with it.
    pub(crate) fn expose(&self) -> &str {
        self.0.trim()
    }

    /// The value of a header: the key after `prefix`. `None` where the key holds what no header can.
    pub(crate) fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.expose())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
