//! `POST /thumbnail`: a picture that somebody has named by URL, so that its form can show it and a mask can be painted
//! over it. Browsers of this server's visitors ask nobody but this server.

use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use scumble_fetch::{Config, Error, Fetcher, Limits};
use serde::Deserialize;

use super::layout::private;
use super::visitor::Change;
use crate::answer::Refusal;
use crate::held::busy;
use crate::sent::{SMALL, Sent};
use crate::state::AppState;

/// As much as a picture to look at may cost.
const LIMITS: Limits = Limits { bytes: 20 * 1024 * 1024, time: Duration::from_secs(20) };

/// Pictures that browsers draw and that hold no scripts.
const KINDS: [(&[u8], &str); 4] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
];

#[derive(Deserialize)]
struct Wish {
    url: String,
}

pub(super) async fn fetch(
    State(state): State<AppState>,
    Sent { body, .. }: Sent<Change, SMALL>,
) -> Result<Response, Refusal> {
    let wish: Wish = serde_json::from_slice(&body).map_err(|_| Refusal::plain(400, "Expected {\"url\": …}"))?;
    let fetched = fetcher().clone().within(state.config.memory.clone()).get(&wish.url, LIMITS).await;
    let fetched = fetched.map_err(|error| match error {
        Error::Busy => busy(),
        error => Refusal::plain(422, &format!("The picture cannot be shown: {error}")),
    })?;
    // its own word on what it is counts for nothing
    let kind = KINDS.iter().find(|(begin, _)| fetched.bytes.starts_with(begin)).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| Refusal::plain(422, "This URL does not lead to a PNG, JPEG, WebP or GIF"))?;
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        (header::CACHE_CONTROL, "private, max-age=300"),
    ];
    Ok(private((headers, fetched.bytes).into_response()))
}

/// Public addresses only, whatever callers of the API may name: a browser of somebody else must not look around here.
fn fetcher() -> &'static Fetcher {
    static FETCHER: OnceLock<Fetcher> = OnceLock::new();
    FETCHER.get_or_init(|| Fetcher::new(Config::default()))
}
