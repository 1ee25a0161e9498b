//! OpenAI's image API, for the many programs that speak it: the same jobs by other words.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use scumble_api::{
    Delivered, ErrorAnswer, OpenAiCall, OpenAiError, openai_images, openai_model, openai_models, own_files,
};
use serde_json::Value;

use crate::addressing::{Caller, Service};
use crate::answer::{Refusal, about};
use crate::auth::Authorized;
use crate::sent::Sent;
use crate::state::AppState;
use crate::submit::{Call, Origin, run_to_outcome, too_many};

/// `POST /v1/images/generations`.
pub(super) async fn generate(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    sent: Result<Sent<Authorized>, Refusal>,
) -> Response {
    let Sent { by: authorized, body } = match sent {
        Ok(sent) => sent,
        Err(refusal) => return refused(&OpenAiError::of(refusal.answer())),
    };
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return refused(&OpenAiError::invalid(None, format!("The body is no JSON: {error}"))),
    };
    let OpenAiCall { endpoint, input, as_base64 } = match OpenAiCall::read(&body) {
        Ok(call) => call,
        Err(error) => return refused(&error),
    };
    let Ok(_place) = state.direct.clone().try_acquire_owned() else {
        return refused(&OpenAiError::of(too_many().answer()));
    };
    let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
    let call = Call::new(endpoint, input);
    let (id, mut outcome) = run_to_outcome(from, Ok(call)).await;
    let response = if outcome.status == 200 {
        match pictures(&mut outcome.body, as_base64, &state, &caller).await {
            Ok(pictures) => Json(openai_images(state.clock.now_ms() / 1000, &pictures, as_base64)).into_response(),
            Err(error) => refused(&OpenAiError::of(Refusal::from(error).answer())),
        }
    } else {
        let answer = ErrorAnswer { status: outcome.status, body: outcome.body, headers: Vec::new() };
        refused(&OpenAiError::of(&answer))
    };
    match id {
        Some(id) => about(id, response),
        None => response,
    }
}

/// What an output shows, as URLs or in base64.
async fn pictures(
    output: &mut Value,
    as_base64: bool,
    state: &AppState,
    caller: &Caller,
) -> scumble_files::Result<Vec<String>> {
    for file in own_files(output) {
        *file.place = match (as_base64 || file.delivered == Delivered::Inline, file.path.parse()) {
            (true, Ok(path)) => {
                let uri = state.files.data_uri(&path).await?;
                uri.split_once(',').map_or_else(String::new, |(_, base64)| base64.to_owned())
            }
            // only paths that the worker wrote come here
            (true, Err(_)) => String::new(),
            (false, _) => caller.url(Service::Cdn, &format!("/files/{}", file.path)),
        };
    }
    let images = output["images"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(images.iter().filter_map(|image| image["url"].as_str()).map(str::to_owned).collect())
}

fn refused(error: &OpenAiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(error.body())).into_response()
}

/// Answers `GET /v1/models` in OpenAI's shape where the caller presents a bearer key, as OpenAI's clients do and fal's
/// do not; everybody else passes.
pub(super) async fn models(request: Request, next: Next) -> Response {
    let scheme = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let is_bearer = scheme.is_some_and(|v| v.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("bearer ")));
    if is_bearer { Json(openai_models()).into_response() } else { next.run(request).await }
}

/// `GET /v1/models/{id}`, which only OpenAI's clients ask for.
pub(super) async fn model(Path(id): Path<String>) -> Response {
    match scumble_api::find(&id) {
        Some(endpoint) => Json(openai_model(endpoint)).into_response(),
        None => {
            let message = format!("The model '{id}' does not exist here; GET /v1/models lists those that do");
            let error = OpenAiError {
                status: 404,
                code: Some("model_not_found"),
                ..OpenAiError::invalid(Some("model"), message)
            };
            refused(&error)
        }
    }
}
