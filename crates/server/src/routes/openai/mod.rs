//! OpenAI's image API, for the many programs that speak it: the same jobs by other words.
//!
//! A call is read (`said`, its form by `form`), its words become those of an endpoint (`scumble_api`), its pictures
//! become files (`inputs`), and it runs as one job or several (`jobs`). The answer is whole or a `stream`. Everything
//! below `/v1` fails in OpenAI's `envelope`.

mod envelope;
mod form;
mod here;
mod inputs;
mod jobs;
mod models;
mod refused;
mod said;
mod shown;
mod stream;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use scumble_api::{OpenAiCall, OpenAiError, OpenAiRequest, OpenAiTask};

pub(super) use self::envelope::envelope;
pub(crate) use self::envelope::{refused_as_asked, speaks_openai};
use self::here::Here;
use self::inputs::Inputs;
pub(super) use self::models::{list, model};
use self::refused::Refused;
use self::said::Said;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::state::AppState;
use crate::submit::{Origin, too_many};

/// `POST /v1/images/generations`.
pub(super) async fn generate(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    authorized: Result<Authorized, Refusal>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let from = Origin { state: &state, caller: &caller, authorized: &authorized?, headers: &headers };
    answer(from, OpenAiTask::Generate, request).await
}

/// `POST /v1/images/edits`.
pub(super) async fn edit(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    authorized: Result<Authorized, Refusal>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let from = Origin { state: &state, caller: &caller, authorized: &authorized?, headers: &headers };
    answer(from, OpenAiTask::Edit, request).await
}

/// `POST /v1/images/variations`.
pub(super) async fn vary(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    authorized: Result<Authorized, Refusal>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let from = Origin { state: &state, caller: &caller, authorized: &authorized?, headers: &headers };
    answer(from, OpenAiTask::Vary, request).await
}

/// Whatever else is asked for below `/v1`.
pub(super) async fn unknown(method: Method, uri: Uri) -> Refused {
    let message = format!("There is no {method} {} here; there are /v1/images and /v1/models", uri.path());
    OpenAiError { status: 404, code: Some("unknown_url"), ..OpenAiError::invalid(None, message) }.into()
}

/// The three calls in one: `authorized` was found out before the first byte of the body is read here.
async fn answer(from: Origin<'_>, task: OpenAiTask, request: Request) -> Result<Response, Refused> {
    let state = from.state;
    let said = Said::read(task, request, state).await?;
    // not before: who sends slowly must not keep others from calling
    let place = state.direct.clone().try_acquire_owned().map_err(|_| too_many())?;
    let name = said.fields.get("model").and_then(serde_json::Value::as_str);
    let here = Here::find(state, name).await?;
    let asked = OpenAiRequest { task, given: &said.fields, pictures: said.pictures.len(), mask: said.mask.is_some() };
    let mut call = OpenAiCall::read(asked, &state.config.openai, &|endpoint| here.answers(endpoint))?;
    let repeatable = jobs::repeatable(from.headers, &said);
    let inputs = Inputs::keep(from, said).await?;
    call.give(&inputs.pictures, inputs.mask.as_deref());
    let going = jobs::start(from, &call, repeatable, !inputs.pictures.is_empty()).await?;
    inputs.are_used();
    match call.partials {
        Some(_) => stream::stream(from, call, going, place).await,
        None => shown::whole(from, &call, going).await,
    }
}
