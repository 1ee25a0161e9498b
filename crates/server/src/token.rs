//! Short-lived tokens: what a browser gets instead of a key.
//!
//! A token is a signed JWT (HS256). It names the apps it opens, its end, and the key of whoever made it, for which its
//! calls count and without which it is worth nothing. Nothing is stored but the secret it is signed with.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use scumble_api::EndpointId;
use scumble_store::{Result, SecretBytes, SecretRecord, Store};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::hmac::hmac;

/// `{"alg":"HS256","typ":"JWT"}`, the only header there is: what a token says about its own check is never believed.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
/// What the store calls the secrets that tokens are signed with.
const PURPOSE: &str = "tokens";

/// A token as text. It does not print.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// What a caller presents.
    pub(crate) fn presented(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, for the caller who asked for it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// What it opens.
    pub(crate) apps: Vec<App>,
    /// Its end, in seconds since 1970.
    pub(crate) exp: i64,
    /// The id of the key it was made with; none on a server without keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

impl Claims {
    /// Claims that end this many seconds from now.
    pub(crate) fn lasting(seconds: i64, now_ms: i64, apps: Vec<App>, key: Option<String>) -> Self {
        // rounded up: whoever asked for a second gets at least one
        Self { apps, exp: now_ms.saturating_add(999) / 1000 + seconds, key }
    }

    /// The moment from which the token is worth nothing.
    pub(crate) fn until_ms(&self) -> i64 {
        self.exp.saturating_mul(1000)
    }

    /// Whether any of its apps opens the door.
    pub(crate) fn open(&self, door: &Door) -> bool {
        self.apps.iter().any(|app| app.opens(door))
    }
}

/// An app as tokens name it: an alias (`flux` for `fal-ai/flux/dev`), the path of an app or of an endpoint, or such a
/// path ending in `/realtime` or `/stream`. Each opens what lies below it and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct App(String);

impl App {
    /// Reads a name; `None` where it can be none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches('/');
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        let segment = |s: &str| !s.is_empty() && s != ".." && s.bytes().all(plain);
        (text.len() <= 200 && text.split('/').all(segment)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn opens(&self, door: &Door) -> bool {
        let id = EndpointId::parse(&self.0);
        if !self.0.contains('/') && door.app_path().rsplit('/').next() == Some(&self.0) {
            return true;
        }
        // the old form `123-app` is a path too
        let Some(id) = id else { return false };
        match door {
            Door::Call { .. } => is_below(&door.path(), id.as_str()),
            Door::Status { app_path } => id.app_path().as_str() == app_path && !self.0.ends_with("/realtime"),
        }
    }
}

/// Whether a path is another one or lies below it.
fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a token is asked to open. There is nothing else that a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Calling an endpoint.
    Call {
        /// Which.
        id: EndpointId,
        /// How: `realtime` or `stream`.
        way: &'static str,
    },
    /// Following the status of a request.
    Status {
        /// Under which app.
        app_path: String,
    },
}

impl Door {
    fn path(&self) -> String {
        match self {
            Self::Call { id, way } => format!("{id}/{way}"),
            Self::Status { app_path } => app_path.clone(),
        }
    }

    fn app_path(&self) -> String {
        match self {
            Self::Call { id, .. } => id.app_path().as_str().to_owned(),
            Self::Status { app_path } => app_path.clone(),
        }
    }
}

/// Signs claims with the newest secret.
pub(crate) async fn issue(store: &dyn Store, claims: &Claims) -> Result<Option<Token>> {
    let secrets = secrets(store).await?;
    let (Some(secret), Ok(payload)) = (secrets.last(), serde_json::to_vec(claims)) else { return Ok(None) };
    let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(hmac(secret.value.reveal(), signed.as_bytes()));
    Ok(Some(Token(format!("{signed}.{signature}"))))
}

/// The claims of a token that was signed here and has not ended.
pub(crate) async fn read(store: &dyn Store, token: &Token, now_ms: i64) -> Result<Option<Claims>> {
    let Some((signed, payload, signature)) = parts(&token.0) else { return Ok(None) };
    let ours = |secret: &SecretRecord| hmac(secret.value.reveal(), signed.as_bytes()).ct_eq(&signature[..]).into();
    if !secrets(store).await?.iter().any(ours) {
        return Ok(None);
    }
    let claims: Option<Claims> = serde_json::from_slice(&payload).ok();
    Ok(claims.filter(|claims| now_ms < claims.until_ms()))
}

/// What was signed, the payload in it, and the signature.
pub(crate) fn parts(token: &str) -> Option<(&str, Vec<u8>, Vec<u8>)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let payload = signed.strip_prefix(HEADER)?.strip_prefix('.')?;
    Some((signed, URL_SAFE_NO_PAD.decode(payload).ok()?, URL_SAFE_NO_PAD.decode(signature).ok()?))
}

async fn secrets(store: &dyn Store) -> Result<Vec<SecretRecord>> {
    // two random UUIDs: 244 random bits
    let first = [*uuid::Uuid::new_v4().as_bytes(), *uuid::Uuid::new_v4().as_bytes()].concat();
    store.secrets(PURPOSE, SecretBytes::new(first)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_standards() {
        let hex = |bytes: [u8; 32]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        // RFC 4231, cases 2 and 6
        let short = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
        assert_eq!(URL_SAFE_NO_PAD.decode(HEADER).expect("base64"), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn an_app_opens_what_lies_below_it() {
        let call = |id: &str, way| Door::Call { id: EndpointId::parse(id).expect("an id"), way };
        let check = |app: &str, door: &Door, opens: bool| {
            assert_eq!(App::parse(app).expect("an app").opens(door), opens, "{app} {door:?}");
        };
        let (realtime, stream) = (call("fal-ai/flux/dev", "realtime"), call("fal-ai/flux/dev", "stream"));
        let status = Door::Status { app_path: "fal-ai/flux".into() };
        for app in ["flux", "fal-ai/flux", "/fal-ai/flux/dev/"] {
            [&realtime, &stream, &status].iter().for_each(|door| check(app, door, true));
        }
        check("fal-ai/flux/dev/stream", &stream, true);
        check("fal-ai/flux/dev/stream", &status, true);
        check("fal-ai/flux/dev/stream", &realtime, false);
        check("fal-ai/flux/dev/realtime", &realtime, true);
        check("fal-ai/flux/dev/realtime", &stream, false);
        check("fal-ai/flux/dev/realtime", &status, false);
        for app in ["dev", "fal-ai", "flu", "fal-ai/flu", "fal-ai/flux/schnell", "fal-ai/flux-1", "other/flux"] {
            [&realtime, &stream].iter().for_each(|door| check(app, door, false));
        }
        check("110602490-myapp", &call("110602490/myapp", "realtime"), true);
        check("myapp", &call("110602490/myapp", "realtime"), true);
        check("wf", &call("workflows/me/wf/x", "stream"), true);
        check("me", &call("workflows/me/wf/x", "stream"), false);
        for app in ["", "/", "a//b", "a/../b", "a b", "é"] {
            assert_eq!(App::parse(app), None, "{app}");
        }
    }
}
