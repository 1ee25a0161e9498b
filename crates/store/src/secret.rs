//! Secrets of the server itself, such as the keys it signs with. Every process on a database shares them.

use std::fmt;

/// Bytes that must not be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes them into custody.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for whoever computes with them.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(…)")
    }
}

/// A secret as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRecord {
    /// Its number; grows.
    pub id: i64,
    /// What it is for: `tokens`, `webhooks`.
    pub purpose: String,
    /// The secret.
    pub value: SecretBytes,
    /// When it was made.
    pub created_ms: i64,
}
