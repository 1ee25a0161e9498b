//! The keys that webhooks are signed with, as this half of the server sees them: published and replaced, never used.

use scumble_api::{KEY_PURPOSE, KeyRing, UnusableKey};
use scumble_store::{SecretBytes, SecretRecord, Store};

/// What replacing the keys has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// When the new key begins to sign: receivers have to hear of it first.
    pub signs_from_ms: i64,
    /// How many keys are published now.
    pub published: usize,
    /// How many were removed, because nobody needs them any more.
    pub removed: usize,
}

/// The keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum WebhookKeysError {
    /// The database refuses.
    #[error(transparent)]
    Store(#[from] scumble_store::Error),
    /// What is stored is no key.
    #[error(transparent)]
    Unusable(#[from] UnusableKey),
    /// No key can be made.
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(String),
}

/// Makes a new key and removes those that nobody needs any more. Works with the server up or down.
///
/// The new key is published at once and signs when it is a day old; the one it replaces stays published for a day
/// more, and is removed by a rotation after that.
///
/// # Errors
/// [`WebhookKeysError`]; a new key may have been made even so.
pub async fn rotate_webhook_keys(store: &dyn Store, now_ms: i64) -> Result<Rotation, WebhookKeysError> {
    let seed = fresh()?;
    let before = store.secrets(KEY_PURPOSE, seed.clone()).await?;
    // a store that had no key has taken this one as its first
    if before.iter().all(|secret| secret.value != seed) {
        store.add_secret(KEY_PURPOSE, seed).await?;
    }
    let secrets = stored(store).await?;
    let keys = ring(&secrets)?;
    let removed = keys.spent(now_ms);
    for secret in &secrets[..removed] {
        store.remove_secret(secret.id).await?;
    }
    Ok(Rotation { signs_from_ms: keys.newest_signs_ms(), published: secrets.len() - removed, removed })
}

/// All keys. The first is made when nobody has asked for one before.
pub(crate) async fn load(store: &dyn Store) -> Result<KeyRing, WebhookKeysError> {
    ring(&stored(store).await?)
}

async fn stored(store: &dyn Store) -> Result<Vec<SecretRecord>, WebhookKeysError> {
    Ok(store.secrets(KEY_PURPOSE, fresh()?).await?)
}

fn ring(secrets: &[SecretRecord]) -> Result<KeyRing, WebhookKeysError> {
    Ok(KeyRing::new(secrets.iter().map(|s| (s.created_ms, s.value.reveal())))?)
}

fn fresh() -> Result<SecretBytes, WebhookKeysError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| WebhookKeysError::NoRandomness(e.to_string()))?;
    Ok(SecretBytes::new(seed))
}
