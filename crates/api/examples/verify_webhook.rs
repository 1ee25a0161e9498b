//! Whether a webhook is what it says: the example of docs/WEBHOOKS.md, which a test holds against this file.
//!
//! `cargo run -p scumble-api --example verify_webhook -- JWKS HEADERS BODY`, three files: the published keys, the headers as
//! a JSON object, the body as it came.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The keys of a server: what `/rest/.well-known/jwks.json` answers.
pub(crate) fn keys(jwks: &Value) -> Vec<VerifyingKey> {
    let key = |jwk: &Value| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk["x"].as_str()?.trim_end_matches('=')).ok()?;
        VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok()
    };
    jwks["keys"].as_array().into_iter().flatten().filter_map(key).collect()
}

/// Whether one of these keys has signed this body within the last five minutes; else why not.
pub(crate) fn verify(headers: &Value, body: &[u8], keys: &[VerifyingKey], now_s: u64) -> Result<(), &'static str> {
    let header = |name: &str| headers[format!("x-fal-webhook-{name}")].as_str().ok_or("a header is missing");
    let (request, user) = (header("request-id")?, header("user-id")?);
    let (timestamp, signature) = (header("timestamp")?, header("signature")?);
    let signed_s: u64 = timestamp.parse().map_err(|_| "the timestamp is not a number")?;
    if now_s.abs_diff(signed_s) > 300 {
        return Err("it is too old, or this clock is wrong");
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let message = format!("{request}\n{user}\n{timestamp}\n{}", hex(&Sha256::digest(body)));
    let byte = |at: usize| u8::from_str_radix(signature.get(2 * at..2 * at + 2)?, 16).ok();
    let signature = (0..64).map(byte).collect::<Option<Vec<u8>>>().ok_or("the signature is not 128 hex digits")?;
    let signature = Signature::from_slice(&signature).map_err(|_| "the signature is not 64 bytes")?;
    let is_signed = keys.iter().any(|key| key.verify_strict(message.as_bytes(), &signature).is_ok());
    if is_signed { Ok(()) } else { Err("nobody whose key is published has signed it") }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    let [jwks, headers, body] = files.as_slice() else { return Err("expected three files: JWKS HEADERS BODY".into()) };
    let jwks = serde_json::from_slice(&std::fs::read(jwks)?)?;
    let headers = serde_json::from_slice(&std::fs::read(headers)?)?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(verify(&headers, &std::fs::read(body)?, &keys(&jwks), now_s)?)
}
