//! What callers carry so that nothing has to be remembered about them: signed, not encrypted, good for a while.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scumble_api::Lifecycle;
use scumble_files::FilePath;
use scumble_store::{SecretBytes, SecretRecord};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::answer::Refusal;
use crate::hmac::hmac;
use crate::state::AppState;

/// What the signing secrets are for, in the database.
const PURPOSE: &str = "uploads";

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "may", rename_all = "snake_case")]
pub(crate) enum Claims {
    /// To send the bytes of a file.
    Put(Ticket),
    /// To send a file in parts.
    Parts(Ticket),
    /// To upload and read as this key does; without one, as everybody on a server without keys.
    Cdn { key: Option<String> },
    /// To read a file.
    Read { path: String },
}

/// A file that will be: all that its row says and nobody knows yet but the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) owner: Option<String>,
    pub(crate) lifecycle: Lifecycle,
}

impl Ticket {
    /// Whether it is for this path.
    pub(crate) fn is_for(&self, path: &FilePath) -> bool {
        self.path == path.as_str()
    }
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Its time is over.
    Expired,
    /// This server has not signed it.
    Forged,
}

/// Signs tokens and opens them.
pub(crate) struct Signer {
    /// Oldest first. The newest signs; all of them open, so that a secret can be replaced without breaking URLs.
    secrets: Vec<SecretRecord>,
}

impl Signer {
    /// The server's own, the same in every process on a database.
    pub(crate) async fn of(state: &AppState) -> Result<Self, Refusal> {
        // 244 random bits, used only where there is no secret yet
        let first = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()].map(uuid::Uuid::into_bytes).concat();
        let secrets = state.store.secrets(PURPOSE, SecretBytes::new(first)).await?;
        Ok(Self { secrets })
    }

    /// One whose secret everybody knows.
    #[cfg(feature = "fuzz")]
    pub(crate) fn fixed() -> Self {
        let value = SecretBytes::new(*b"known");
        Self { secrets: vec![SecretRecord { id: 1, purpose: PURPOSE.into(), value, created_ms: 0 }] }
    }

    /// A token that opens until `until_ms`.
    pub(crate) fn seal(&self, claims: &Claims, until_ms: i64) -> Result<String, Refusal> {
        let unusable = || Refusal::plain(500, "The server cannot sign");
        let payload = serde_json::to_vec(&(until_ms, claims)).map_err(|_| unusable())?;
        self.sign(&payload).ok_or_else(unusable)
    }

    /// A payload, signed by the newest secret.
    pub(crate) fn sign(&self, payload: &[u8]) -> Option<String> {
        let payload = URL_SAFE_NO_PAD.encode(payload);
        let signature = hmac(self.secrets.last()?.value.reveal(), payload.as_bytes());
        Some(format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// What a token allows now.
    pub(crate) fn open(&self, token: &str, now_ms: i64) -> Result<Claims, Unusable> {
        let (payload, signature) = token.split_once('.').ok_or(Unusable::Forged)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Unusable::Forged)?;
        let fits =
            |secret: &SecretRecord| bool::from(hmac(secret.value.reveal(), payload.as_bytes()).ct_eq(&signature[..]));
        if !self.secrets.iter().any(fits) {
            return Err(Unusable::Forged);
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| Unusable::Forged)?;
        let (until_ms, claims): (i64, Claims) = serde_json::from_slice(&payload).map_err(|_| Unusable::Forged)?;
        if now_ms < until_ms { Ok(claims) } else { Err(Unusable::Expired) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secrets: &[&[u8]]) -> Signer {
        let secret = |(id, value): (i64, &&[u8])| SecretRecord {
            id,
            purpose: PURPOSE.into(),
            value: SecretBytes::new(*value),
            created_ms: 0,
        };
        Signer { secrets: (1..).zip(secrets).map(secret).collect() }
    }

    #[test]
    fn a_token_opens_what_was_signed_until_its_time() {
        let claims = Claims::Read { path: "b/1/x.png".into() };
        let token = signer(&[b"old"]).seal(&claims, 1000).expect("a token");
        assert_eq!(signer(&[b"old"]).open(&token, 999), Ok(claims.clone()));
        assert_eq!(signer(&[b"old", b"new"]).open(&token, 999), Ok(claims));
        assert_eq!(signer(&[b"old"]).open(&token, 1000), Err(Unusable::Expired));
        assert_eq!(signer(&[b"new"]).open(&token, 999), Err(Unusable::Forged));
    }

    #[test]
    fn what_was_changed_is_forged() {
        let signer = signer(&[b"secret"]);
        let token = signer.seal(&Claims::Cdn { key: Some("ann".into()) }, 1000).expect("a token");
        let (payload, signature) = token.split_once('.').expect("two halves");
        let other = URL_SAFE_NO_PAD.encode(r#"[1000,{"may":"cdn","key":"bob"}]"#);
        for forged in [
            String::new(),
            ".".into(),
            payload.into(),
            format!("{payload}."),
            format!("{other}.{signature}"),
            format!("{payload}.{}", &signature[1..]),
            format!("{token}.x"),
            format!(" {token}"),
        ] {
            assert_eq!(signer.open(&forged, 0), Err(Unusable::Forged), "{forged}");
        }
    }
}
