//! `POST /rest/storage/auth/token`: leave to upload and read for a while.

use axum::extract::{Query, State};
use axum::{Extension, Json};
use scumble_api::{CdnToken, CdnTokenRequest};
use time::OffsetDateTime;
use time::macros::format_description;

use super::{StorageQuery, read_json};
use crate::addressing::{Caller, Service};
use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::sent::{SMALL, Sent};
use crate::state::AppState;
use crate::uploads::{Claims, Signer};

/// How long a token opens when its caller does not say.
const SECONDS: u64 = 60 * 60;

/// …and at most.
const SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

pub(in crate::routes) async fn token(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<StorageQuery>,
    Sent { by: authorized, body }: Sent<Authorized, SMALL>,
) -> Result<Json<CdnToken>, Refusal> {
    query.check()?;
    let CdnTokenRequest { expiration_seconds } = read_json(&body)?;
    let seconds = expiration_seconds.unwrap_or(SECONDS);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Refusal::plain(422, &format!("expiration_seconds must be from 1 to {SECONDS_MAX}")));
    }
    // whole seconds, because that is what the answer says
    let until = (state.clock.now_ms() / 1000).saturating_add_unsigned(seconds);
    let claims = Claims::Cdn { key: authorized.key_id };
    Ok(Json(CdnToken {
        token: Signer::of(&state).await?.seal(&claims, until.saturating_mul(1000))?,
        token_type: "Bearer",
        base_url: caller.url(Service::Cdn, ""),
        expires_at: iso(until),
    }))
}

/// With a numeric offset: older Pythons cannot read a `Z`.
fn iso(seconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+00:00");
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|t| t.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_numeric_offset() {
        assert_eq!(iso(1_700_000_000), "2023-11-14T22:13:20+00:00");
    }
}
