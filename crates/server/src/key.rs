//! API keys: `id:secret` to their owners, a hash to the database.

use sha2::{Digest, Sha256};

/// A key's secret half. It does not print.
#[derive(Clone)]
pub struct KeySecret(String);

impl KeySecret {
    /// The whole key, as its owner sees it, once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySecret(…)")
    }
}

/// A fresh key: its public id, the whole key, and the hash that is stored.
///
/// The secret has 256 random bits (two random UUIDs), so a plain hash is enough: nothing can be guessed and then
/// checked.
pub fn new_key() -> (String, KeySecret, [u8; 32]) {
    let id = uuid::Uuid::new_v4().to_string();
    let secret = format!("{id}:{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let hash = hash(&secret);
    (id, KeySecret(secret), hash)
}

/// What is stored of a key and looked up by.
pub(crate) fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}
