//! `POST /queue/{endpoint id}`.

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use scumble_api::{Metrics, Status, Submitted};

use super::Urls;
use crate::addressing::Caller;
use crate::answer::{Refusal, about};
use crate::auth::Authorized;
use crate::platform::SubmitQuery;
use crate::sent::Sent;
use crate::state::AppState;
use crate::submit::{Accepted, Call, Origin};

/// Answers after the commit that holds the job.
pub(super) async fn submit(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    Sent { by: authorized, body }: Sent<Authorized>,
) -> Result<Response, Refusal> {
    let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
    let Accepted { job, position } = Call::read(&id, &body)?.submit(from, query).await?;
    let urls = Urls::of(job.id, &job.endpoint, &caller);
    let answer = Submitted {
        status: Status::InQueue,
        request_id: job.id.to_string(),
        response_url: urls.response,
        status_url: urls.status,
        cancel_url: urls.cancel,
        queue_position: position,
        logs: None,
        metrics: Metrics::default(),
    };
    Ok(about(job.id, Json(answer).into_response()))
}
