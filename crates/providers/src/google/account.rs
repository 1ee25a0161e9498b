//! A service account: its key signs for a token, the token opens Vertex AI for an hour.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use scumble_fetch::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::core::retry::{Tries, Verdict};
use crate::core::secret::Secret;
use crate::wire::{Answer, Ask, Body, Link};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const LASTS: u64 = 3600;
/// Before a token ends, so that it does not end on its way.
const EARLY: Duration = Duration::from_secs(60);
const TIME: Duration = Duration::from_secs(30);

/// The key file, as Google writes it.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: Secret,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    project_id: Option<String>,
}

pub(super) struct Account {
    file: KeyFile,
    pair: RsaKeyPair,
    token: Mutex<Option<(Secret, Instant)>>,
}

impl Account {
    /// Reads a key file.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| format!("{place} cannot be read: {e}"))?;
        // serde's own message would quote the file
        let file: KeyFile = serde_json::from_str(&text).map_err(|_| {
            format!("{place} is not the key file of a service account: client_email and private_key are needed")
        })?;
        let pair =
            key_pair(&file.private_key).ok_or_else(|| format!("the private_key in {place} is not an RSA key"))?;
        if let Some(uri) = &file.token_uri {
            scumble_fetch::check_target(uri, true).map_err(|e| format!("the token_uri in {place}: {e}"))?;
        }
        Ok(Self { file, pair, token: Mutex::default() })
    }

    /// What no log may hold.
    pub(super) fn key(&self) -> &Secret {
        &self.file.private_key
    }

    pub(super) fn project(&self) -> Option<&str> {
        self.file.project_id.as_deref()
    }

    /// A token that lasts. `fresh`: the one at hand is not taken any more.
    pub(super) async fn token(&self, run: &Run<'_>, fresh: bool) -> Result<Secret, MakerError> {
        // held while one is fetched, so that all jobs wait for the same one
        let mut kept = self.token.lock().await;
        let asked = Instant::now();
        if let Some((token, until)) = &*kept
            && asked < *until
            && !fresh
        {
            return Ok(token.clone());
        }
        let (token, lasts) = self.fetch(run).await?;
        run.desk.http.secrets().add(&token);
        *kept = Some((token.clone(), asked + lasts.saturating_sub(EARLY)));
        Ok(token)
    }

    async fn fetch(&self, run: &Run<'_>) -> Result<(Secret, Duration), MakerError> {
        let mut tries = Tries::default();
        let deadline = run.deadline();
        loop {
            let uri = self.file.token_uri.as_deref().unwrap_or(TOKEN_URI);
            let body = Body::Urlencoded(format!(
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={}",
                self.assertion(uri)?
            ));
            let link = Link { url: uri.to_owned(), own: true };
            let ask = Ask { method: Method::POST, link, headers: Vec::new(), body, pictures: 0 };
            let sent = run.until(Some(deadline), run.desk.http.privately(&ask, TIME), true).await?;
            // a token costs nothing, so whatever went wrong may be tried again
            let pause = match sent {
                Err(lost) => {
                    run.log(&format!("Google gives no token: {}", lost.why));
                    tries.unreached()
                }
                Ok(answer) if answer.status == 200 => return read(&answer).ok_or_else(|| run.failed(true)),
                Ok(answer) => {
                    // what is said here may quote what was sent
                    let bare = Answer { body: Default::default(), ..answer };
                    let verdict = match bare.status {
                        429 => Verdict::Limited(None),
                        500..=599 => Verdict::Down { again: 2 },
                        _ => run.denied_key(),
                    };
                    run.refused(&bare, verdict, &mut tries)?
                }
            };
            let msg = "Google gives this server no token now; try again later";
            let pause = pause.ok_or_else(|| MakerError::unavailable(msg, true))?;
            run.pause(pause, deadline, true).await?;
        }
    }

    /// A signed statement of who asks, for this address, for an hour.
    fn assertion(&self, audience: &str) -> Result<String, MakerError> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut head = json!({ "alg": "RS256", "typ": "JWT" });
        if let Some(id) = &self.file.private_key_id {
            head["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.file.client_email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + LASTS,
        });
        let said = format!("{}.{}", BASE64_URL.encode(head.to_string()), BASE64_URL.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let signed = self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), said.as_bytes(), &mut signature);
        signed.map_err(|_| MakerError::internal("The server could not sign for Google"))?;
        Ok(format!("{said}.{}", BASE64_URL.encode(signature)))
    }
}

fn read(answer: &Answer) -> Option<(Secret, Duration)> {
    let body = answer.json()?;
    let token = Secret::new(body["access_token"].as_str().filter(|token| !token.is_empty())?);
    Some((token, Duration::from_secs(body["expires_in"].as_u64().unwrap_or(LASTS).min(LASTS * 24))))
}

/// Everything that is read of an answer.
#[cfg(feature = "fuzz")]
pub(super) fn read_token(answer: &Answer) {
    drop(read(answer));
}

/// PEM to a key: PKCS #8, as Google writes it, or PKCS #1.
fn key_pair(pem: &Secret) -> Option<RsaKeyPair> {
    let text = pem.expose();
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der = BASE64.decode(body).ok()?;
    RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).ok()
}
