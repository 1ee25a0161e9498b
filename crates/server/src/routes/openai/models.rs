//! The list of models: OpenAI's `data` and fal's `models` in one answer, whoever asks.

use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use scumble_api::{OpenAiError, openai_list, openai_model};
use serde_json::Value;

use super::here::Here;
use super::refused::Refused;
use crate::addressing::Caller;
use crate::pages::Workers;
use crate::routes::catalogue;
use crate::state::AppState;

/// `GET /v1/models`. The query narrows down `models`, a page of fal's catalogue; `data` has every name.
pub(in crate::routes) async fn list(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, Refused> {
    let workers = Workers::now(&state).await?;
    let page = catalogue::page(pairs, &caller, &|endpoint| workers.standing(endpoint));
    let mut page = page.map_err(|message| OpenAiError::invalid(None, message))?;
    page["object"] = "list".into();
    page["data"] = openai_list(&state.config.openai, &|endpoint| workers.answers(endpoint).cloned()).into();
    Ok(Json(page))
}

/// `GET /v1/models/{id}`, which only OpenAI's clients ask for.
pub(in crate::routes) async fn model(
    State(state): State<AppState>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Refused> {
    let here = Here::find(&state, Some(&name)).await?;
    let endpoint = state.config.openai.known(&name, &|endpoint| here.answers(endpoint));
    let endpoint = endpoint.ok_or_else(|| OpenAiError::no_such_model(&name))?;
    Ok(Json(openai_model(&name, endpoint)))
}
