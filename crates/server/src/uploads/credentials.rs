//! Who uploads and who reads. Beside keys there are tokens for both, which are given away instead of a key.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use scumble_store::{Access, Decision, FileRecord};
use serde::Deserialize;

use super::token::{Claims, Signer, Unusable};
use crate::answer::Refusal;
use crate::auth::{Authorized, is_alive, presented};
use crate::pages;
use crate::state::AppState;

/// Who may upload: with a key or a CDN token, or on a server without keys.
pub(crate) struct Uploader {
    /// The key that the file will belong to.
    pub(crate) owner: Option<String>,
}

impl FromRequestParts<AppState> for Uploader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        if let Some(word) = presented(parts) {
            let opened = Signer::of(state).await?.open(word, state.clock.now_ms());
            match opened {
                Ok(Claims::Cdn { key }) if is_alive(state, key.as_deref()).await? => return Ok(Self { owner: key }),
                Err(Unusable::Expired) => return Err(Refusal::plain(401, "This token has expired: ask for another")),
                // a key, perhaps
                Ok(_) | Err(Unusable::Forged) => {}
            }
        }
        let Authorized { key_id, .. } = Authorized::from_request_parts(parts, state).await?;
        Ok(Self { owner: key_id })
    }
}

/// Everything that a reader has shown. What is not valid counts for nothing: there may be files for everybody.
pub(crate) struct Reader {
    /// The keys that were shown, as such or by a token; `None` is everybody's on a server without keys.
    keys: Vec<Option<String>>,
    /// The path of the file whose owner has signed its URL.
    signed: Option<String>,
}

/// `?identity=…`, which [`sign`](crate::routes) gives.
#[derive(Default, Deserialize)]
struct ReadQuery {
    identity: Option<String>,
}

impl FromRequestParts<AppState> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Refusal> {
        let mut reader = Self { keys: Vec::new(), signed: None };
        if presented(parts).is_some() {
            // an error of the database comes back with the file's row
            reader.keys.extend(Uploader::from_request_parts(parts, state).await.ok().map(|uploader| uploader.owner));
        }
        // who has signed in sees the pictures of their own pages
        reader.keys.extend(pages::key_of_cookie(state, &parts.headers).await.ok().flatten().map(Some));
        let Query(query) = Query::<ReadQuery>::try_from_uri(&parts.uri).unwrap_or_default();
        if let Some(identity) = query.identity
            && let Ok(Claims::Read { path }) = Signer::of(state).await?.open(&identity, state.clock.now_ms())
        {
            reader.signed = Some(path);
        }
        Ok(reader)
    }
}

impl Reader {
    /// Whether this reader gets the file; the most generous credential wins.
    pub(crate) fn decision(&self, file: &FileRecord) -> Decision {
        if self.signed.as_ref() == Some(&file.path) || self.owns(file) {
            return Decision::Allow;
        }
        let named = self.keys.iter().flatten().map(|key| decision_for(key, &file.access));
        named.min_by_key(|decision| severity(*decision)).unwrap_or(file.access.default)
    }

    /// Whether one of the credentials is the owner's.
    pub(crate) fn owns(&self, file: &FileRecord) -> bool {
        self.keys.contains(&file.owner)
    }
}

fn decision_for(key: &str, access: &Access) -> Decision {
    access.rules.iter().find(|rule| rule.user == key).map_or(access.default, |rule| rule.decision)
}

fn severity(decision: Decision) -> u8 {
    match decision {
        Decision::Allow => 0,
        Decision::Forbid => 1,
        Decision::Hide => 2,
    }
}

#[cfg(test)]
mod tests {
    use scumble_store::AccessRule;

    use super::*;

    fn file(default: Decision, rules: &[(&str, Decision)]) -> FileRecord {
        let rules = rules.iter().map(|(user, decision)| AccessRule { user: (*user).into(), decision: *decision });
        FileRecord {
            path: "b/1/x.png".into(),
            job_id: None,
            content_type: "image/png".into(),
            bytes: 1,
            created_ms: 0,
            expires_ms: None,
            owner: Some("ann".into()),
            access: Access { default, rules: rules.collect() },
        }
    }

    #[test]
    fn the_most_generous_credential_wins() {
        let decide = |keys: &[&str], signed: Option<&str>, file: &FileRecord| {
            let keys = keys.iter().map(|key| Some((*key).to_owned())).collect();
            Reader { keys, signed: signed.map(str::to_owned) }.decision(file)
        };
        let forbidden = file(Decision::Forbid, &[("bob", Decision::Allow), ("eve", Decision::Hide)]);
        assert_eq!(decide(&[], None, &forbidden), Decision::Forbid);
        assert_eq!(decide(&["ann"], None, &forbidden), Decision::Allow);
        assert_eq!(decide(&["bob"], None, &forbidden), Decision::Allow);
        assert_eq!(decide(&["eve"], None, &forbidden), Decision::Hide);
        assert_eq!(decide(&["eve", "zoe"], None, &forbidden), Decision::Forbid);
        assert_eq!(decide(&["eve", "bob"], None, &forbidden), Decision::Allow);
        assert_eq!(decide(&["eve"], Some("b/1/x.png"), &forbidden), Decision::Allow);
        assert_eq!(decide(&["eve"], Some("b/2/x.png"), &forbidden), Decision::Hide);
        let open = file(Decision::Allow, &[("eve", Decision::Forbid)]);
        assert_eq!((decide(&[], None, &open), decide(&["eve"], None, &open)), (Decision::Allow, Decision::Forbid));
    }
}
