//! The example in Rust of docs/WEBHOOKS.md verifies what is signed here, and nothing else. The others run in
//! `clients/snippets.py`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[allow(dead_code, reason = "its main is for people")]
#[path = "../examples/verify_webhook.rs"]
mod example;

use scumble_api::{KeyRing, Notice};
use serde_json::{Value, json};

const NOW_S: i64 = 1_700_000_000;

/// What a receiver gets, and the keys that it finds published.
fn delivery(body: &[u8]) -> (Value, Value) {
    let ring = KeyRing::new([(0, &[7; 32][..])]).unwrap();
    let notice = Notice { request_id: "r", user_id: "u", timestamp_s: NOW_S, body };
    let headers = notice.headers(ring.signer(NOW_S * 1000)).into_iter();
    let headers: serde_json::Map<_, _> = headers.map(|(name, value)| (name.to_owned(), json!(value))).collect();
    (headers.into(), serde_json::to_value(ring.jwks()).unwrap())
}

#[test]
fn what_is_signed_is_taken_and_everything_else_is_not() {
    let (headers, jwks) = delivery(b"{}");
    let keys = example::keys(&jwks);
    assert_eq!(keys.len(), jwks["keys"].as_array().unwrap().len(), "in both alphabets");
    let check = |headers: &Value, body: &[u8], now_s: i64| example::verify(headers, body, &keys, now_s.unsigned_abs());
    assert_eq!(check(&headers, b"{}", NOW_S + 299), Ok(()));
    assert!(check(&headers, b"{} ", NOW_S).is_err(), "another body");
    assert!(check(&headers, b"{}", NOW_S + 301).is_err() && check(&headers, b"{}", NOW_S - 301).is_err(), "too late");
    for name in ["request-id", "user-id", "timestamp", "signature"] {
        let mut changed = headers.clone();
        let value = &mut changed[format!("x-fal-webhook-{name}")];
        let text = value.as_str().unwrap();
        *value = json!(format!("{}{}", if text.starts_with('1') { '2' } else { '1' }, &text[1..]));
        assert!(check(&changed, b"{}", NOW_S).is_err(), "another {name}");
        changed.as_object_mut().unwrap().remove(&format!("x-fal-webhook-{name}"));
        assert!(check(&changed, b"{}", NOW_S).is_err(), "without {name}");
    }
    let strange = KeyRing::new([(0, &[8; 32][..])]).unwrap();
    let strange = example::keys(&serde_json::to_value(strange.jwks()).unwrap());
    assert!(example::verify(&headers, b"{}", &strange, NOW_S.unsigned_abs()).is_err(), "another key");
    for signature in ["", "zz", &"é".repeat(64), &"0".repeat(127)] {
        let mut changed = headers.clone();
        changed["x-fal-webhook-signature"] = json!(signature);
        assert!(check(&changed, b"{}", NOW_S).is_err(), "{signature}");
    }
}

#[test]
fn the_document_shows_this_example() {
    let document = include_str!("../../../docs/WEBHOOKS.md");
    let source = include_str!("../examples/verify_webhook.rs");
    let shown = source.split("use base64").nth(1).unwrap().split("fn main").next().unwrap().trim_end();
    assert!(
        document.contains(&format!("use base64{shown}")),
        "docs/WEBHOOKS.md does not show crates/api/examples/verify_webhook.rs"
    );
}
