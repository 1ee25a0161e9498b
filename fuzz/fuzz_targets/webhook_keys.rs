//! The keys of webhooks as a database holds them: a time and a secret each. Some key signs, and no signer is spent.
#![cfg_attr(fuzzing, no_main)]

use scumble_api::KeyRing;

scumble_fuzz::target!(|bytes| check(bytes));

fn check(bytes: &[u8]) {
    let Some((now, keys)) = bytes.split_first_chunk() else { return };
    let (keys, now) = (keys.chunks(40).take(8), i64::from_be_bytes(*now));
    let keys = keys.filter_map(|key| key.split_first_chunk().map(|(at, seed)| (i64::from_be_bytes(*at), seed)));
    if let Ok(ring) = KeyRing::new(keys.clone()) {
        let signer = ring.signer(now).to_bytes();
        assert!(keys.skip(ring.spent(now)).any(|(_, seed)| seed == signer));
        let _ = (ring.newest_signs_ms(), ring.jwks());
    }
}
