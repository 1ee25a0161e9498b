//! The keys that webhooks are signed with: which one signs, which are published, which nobody needs any more.
//!
//! Receivers keep the published keys for up to a day. So a new key is published for a day before it signs, and an old
//! one for a day after it has signed for the last time.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use ed25519_dalek::SigningKey;
use serde::Serialize;

/// What the secrets of webhooks are stored under.
pub const KEY_PURPOSE: &str = "webhooks";

/// How long receivers keep what was published.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// All keys, oldest first; at least one.
pub struct KeyRing(Vec<Key>);

struct Key {
    created_ms: i64,
    signing: SigningKey,
}

/// A stored secret is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnusableKey {
    /// How many bytes it has; 32 are needed. `None` where there is no secret at all.
    pub bytes: Option<usize>,
}

/// The published keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwks {
    /// Each of them, twice.
    pub keys: Vec<Jwk>,
}

/// One public key (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwk {
    /// Always `OKP`.
    pub kty: &'static str,
    /// Always `Ed25519`.
    pub crv: &'static str,
    /// The key, in the alphabet of URLs.
    pub x: String,
}

impl KeyRing {
    /// The keys made of stored secrets: when each was made, and its 32 bytes; oldest first.
    ///
    /// # Errors
    /// A secret of another length, or none at all.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (i64, &'a [u8])>) -> Result<Self, UnusableKey> {
        let key = |(created_ms, seed): (i64, &[u8])| {
            let seed = <&[u8; 32]>::try_from(seed).map_err(|_| UnusableKey { bytes: Some(seed.len()) })?;
            Ok(Key { created_ms, signing: SigningKey::from_bytes(seed) })
        };
        let keys = secrets.into_iter().map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(UnusableKey { bytes: None }) } else { Ok(Self(keys)) }
    }

    /// The key that signs now: the newest that every receiver knows; before there is one, the oldest.
    pub fn signer(&self, now_ms: i64) -> &SigningKey {
        &self.0[self.known(now_ms, DAY_MS).unwrap_or(0)].signing
    }

    /// How many of the oldest keys nobody needs any more: another has signed for a day.
    pub fn spent(&self, now_ms: i64) -> usize {
        self.known(now_ms, 2 * DAY_MS).unwrap_or(0)
    }

    /// When the newest key will sign.
    pub fn newest_signs_ms(&self) -> i64 {
        match self.0.as_slice() {
            [only] => only.created_ms,
            keys => keys[keys.len() - 1].created_ms.saturating_add(DAY_MS),
        }
    }

    /// The keys for whoever verifies.
    ///
    /// Each is there twice: without padding, as the standard has it, then with it, because the documented Python
    /// verifier reads no other form. Verifiers skip what they cannot read.
    pub fn jwks(&self) -> Jwks {
        let both = |key: &Key| {
            let public = key.signing.verifying_key();
            [URL_SAFE_NO_PAD, URL_SAFE].map(|form| Jwk {
                kty: "OKP",
                crv: "Ed25519",
                x: form.encode(public.as_bytes()),
            })
        };
        Jwks { keys: self.0.iter().flat_map(both).collect() }
    }

    /// The newest key that is at least this old.
    fn known(&self, now_ms: i64, age_ms: i64) -> Option<usize> {
        self.0.iter().rposition(|key| now_ms.saturating_sub(key.created_ms) >= age_ms)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.0.len())
    }
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => {
                write!(f, "a stored key of webhooks has {bytes} bytes instead of 32; was it edited by hand?")
            }
            None => f.write_str("there is no key to sign webhooks with"),
        }
    }
}

impl std::error::Error for UnusableKey {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(made_ms: &[i64]) -> KeyRing {
        let seeds: Vec<[u8; 32]> = (1..).map(|n| [n; 32]).take(made_ms.len()).collect();
        KeyRing::new(made_ms.iter().zip(&seeds).map(|(made, seed)| (*made, &seed[..]))).expect("keys")
    }

    #[test]
    fn a_key_signs_when_everybody_knows_it_and_goes_when_nobody_needs_it() {
        const H: i64 = 60 * 60 * 1000;
        let check = |made: &[i64], now: i64, signer: u8, spent: usize| {
            let ring = ring(made);
            assert_eq!((ring.signer(now).to_bytes(), ring.spent(now)), ([signer; 32], spent), "{made:?} at {now}");
        };
        check(&[0], 0, 1, 0);
        check(&[0], 1000 * H, 1, 0);
        check(&[0, 100 * H], 100 * H, 1, 0);
        check(&[0, 100 * H], 124 * H - 1, 1, 0);
        check(&[0, 100 * H], 124 * H, 2, 0);
        check(&[0, 100 * H], 148 * H - 1, 2, 0);
        check(&[0, 100 * H], 148 * H, 2, 1);
        // the first two on one day: the older signs
        check(&[0, H], 2 * H, 1, 0);
        check(&[0, 100 * H, 101 * H], 126 * H, 3, 0);
        check(&[0, 100 * H, 101 * H], 150 * H, 3, 2);
        // a clock that was set back
        check(&[50 * H, 60 * H], 0, 1, 0);
        assert_eq!(ring(&[0, 100 * H]).newest_signs_ms(), 124 * H);
        assert_eq!(ring(&[5]).newest_signs_ms(), 5);
    }

    #[test]
    fn each_key_is_published_in_both_forms() {
        let jwks = ring(&[0, 1]).jwks();
        let lengths: Vec<usize> = jwks.keys.iter().map(|key| key.x.len()).collect();
        assert_eq!(lengths, [43, 44, 43, 44]);
        assert_eq!(format!("{}=", jwks.keys[0].x), jwks.keys[1].x);
        assert_ne!(jwks.keys[0].x, jwks.keys[2].x);
        // RFC 8037, appendix A.1 and A.2
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").expect("base64");
        let jwks = KeyRing::new([(0, &seed[..])]).expect("a key").jwks();
        let expected = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(serde_json::to_string(&jwks.keys[0]).expect("JSON"), expected);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(KeyRing::new([(0, &[1; 31][..])]).err(), Some(UnusableKey { bytes: Some(31) }));
        assert_eq!(KeyRing::new([]).err(), Some(UnusableKey { bytes: None }));
        assert_eq!(format!("{:?}", ring(&[0])), "KeyRing(1 keys)");
    }
}
