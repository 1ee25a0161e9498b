//! The keys that webhooks are signed with.

use scumble_api::{KEY_PURPOSE, KeyRing};
use scumble_store::{SecretBytes, Store};

/// All keys. The first is made when nobody has asked for one before.
///
/// # Errors
/// A sentence for the log.
pub(super) async fn load(store: &dyn Store) -> Result<KeyRing, String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    let secrets = store.secrets(KEY_PURPOSE, SecretBytes::new(seed)).await.map_err(|e| e.to_string())?;
    KeyRing::new(secrets.iter().map(|s| (s.created_ms, s.value.reveal()))).map_err(|e| e.to_string())
}
