//! The signature of a webhook.

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// Stands for the user where a server has no keys.
pub const NO_USER: &str = "anonymous";

/// What is signed of one attempt to deliver.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The request that ended.
    pub request_id: &'a str,
    /// The id of the key that it was made with; [`NO_USER`] where none was needed.
    pub user_id: &'a str,
    /// When this attempt begins, in seconds since 1970: receivers refuse what is older than five minutes.
    pub timestamp_s: i64,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

impl Notice<'_> {
    /// The headers that carry the signature.
    pub fn headers(&self, key: &SigningKey) -> [(&'static str, String); 4] {
        let signature = hex(&key.sign(self.message().as_bytes()).to_bytes());
        [
            ("x-fal-webhook-request-id", self.request_id.to_owned()),
            ("x-fal-webhook-user-id", self.user_id.to_owned()),
            ("x-fal-webhook-timestamp", self.timestamp_s.to_string()),
            ("x-fal-webhook-signature", signature),
        ]
    }

    /// The four lines that are signed, without a newline at the end.
    fn message(&self) -> String {
        let Self { request_id, user_id, timestamp_s, body } = self;
        format!("{request_id}\n{user_id}\n{timestamp_s}\n{}", hex(&Sha256::digest(body)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_lines_are_signed() {
        let notice = Notice { request_id: "r", user_id: "u", timestamp_s: 1_700_000_000, body: b"{}" };
        let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(notice.message(), format!("r\nu\n1700000000\n{digest}"));
        let key = SigningKey::from_bytes(&[7; 32]);
        let [request, user, timestamp, (name, signature)] = notice.headers(&key);
        assert_eq!((request.1.as_str(), user.1.as_str(), timestamp.1.as_str()), ("r", "u", "1700000000"));
        assert_eq!((name, signature.len()), ("x-fal-webhook-signature", 128));
        assert!(signature.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let bytes: Vec<u8> = (0..64).map(|i| u8::from_str_radix(&signature[2 * i..][..2], 16).expect("hex")).collect();
        let signature = ed25519_dalek::Signature::from_slice(&bytes).expect("64 bytes");
        let check = |message: &str| key.verifying_key().verify_strict(message.as_bytes(), &signature).is_ok();
        assert!(check(&notice.message()));
        assert!(!check(&Notice { timestamp_s: 1_700_000_001, ..notice }.message()));
    }
}
