//! What must not be in logs and records.

use std::sync::{Mutex, PoisonError};

use crate::core::secret::Secret;

/// The keys of this process: nothing that leaves goes unsearched for them.
#[derive(Default)]
pub(crate) struct Keys(Mutex<Vec<Secret>>);

/// Shorter ones would be found everywhere.
const LEAST: usize = 6;

impl Keys {
    pub(crate) fn add(&self, secret: &Secret) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if secret.expose().len() >= LEAST && keys.iter().all(|key| key.expose() != secret.expose()) {
            keys.push(secret.clone());
        }
        // tokens come and go; the first are the owner's own
        if keys.len() > 64 {
            keys.remove(32);
        }
    }

    /// The text without them. A maker may repeat a key that it was sent.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().fold(text.to_owned(), |text, key| {
            if text.contains(key.expose()) { text.replace(key.expose(), "[key]") } else { text }
        })
    }
}
