//! The keys that webhooks are signed with.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;

use crate::answer::Refusal;
use crate::state::AppState;
use crate::webhook_keys::load;

/// Receivers may keep what they read for a day, and a new key waits that long; an hour lets them see it sooner.
const CACHE: &str = "public, max-age=3600";

/// `GET /rest/.well-known/jwks.json`, for anybody: public keys are public.
pub(super) async fn read(State(state): State<AppState>) -> Result<impl IntoResponse, Refusal> {
    match load(&*state.store).await {
        Ok(keys) => Ok(([(CACHE_CONTROL, CACHE)], Json(keys.jwks()))),
        Err(error) => {
            tracing::error!(%error, "the keys of webhooks cannot be published");
            Err(Refusal::plain(500, "The keys of webhooks cannot be read; the server's log says why"))
        }
    }
}
