//! What can be called here, for programs: a list, OpenAPI documents, and text for language models.

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use scumble_api::faces::{self, CatalogueQuery, Edition, Places};
use scumble_api::{Endpoint, Standing};
use serde_json::Value;

use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::hosts::Service;
use crate::pages::Workers;
use crate::state::AppState;

type Pairs = Query<Vec<(String, String)>>;

/// The page of the catalogue that a query asks for.
pub(crate) fn page(
    pairs: Vec<(String, String)>,
    caller: &Caller,
    standing: &dyn Fn(&Endpoint) -> Standing,
) -> Result<Value, String> {
    faces::catalogue(&query(pairs)?, &places(caller), standing)
}

fn query(pairs: Vec<(String, String)>) -> Result<CatalogueQuery, String> {
    let mut query = CatalogueQuery::default();
    for (name, value) in pairs {
        match name.as_str() {
            "limit" => query.limit = Some(value.parse().map_err(|_| "limit must be a whole number")?),
            "cursor" if !value.is_empty() => query.cursor = Some(value),
            "endpoint_id" => query.endpoint_ids.extend(value.split(',').map(str::to_owned)),
            "q" => query.words = Some(value),
            "category" => query.category = Some(value),
            "status" => query.status = Some(value),
            "expand" => query.with_openapi |= value.split(',').any(|what| what == "openapi-3.0"),
            _ => {}
        }
    }
    Ok(query)
}

/// `GET /api/openapi/queue/openapi.json?endpoint_id=…`, where fal publishes it; of an unknown endpoint `null`.
pub(super) async fn queue_openapi(Extension(caller): Extension<Caller>, Query(pairs): Pairs) -> Response {
    let id = pairs.iter().find(|(name, _)| name == "endpoint_id").map_or("", |(_, id)| id.as_str());
    match scumble_api::find(id) {
        Some(endpoint) => Json(faces::openapi(endpoint, &places(&caller), Edition::V3_0)).into_response(),
        None => (StatusCode::NOT_FOUND, Json(Value::Null)).into_response(),
    }
}

/// `GET /models/{id}/openapi.json` and `GET /models/{id}/llms.txt`.
pub(crate) async fn document(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    let of = |file: &str| -> Option<&'static Endpoint> { scumble_api::find(path.strip_suffix(file)?) };
    if let Some(endpoint) = of("/openapi.json") {
        return Ok(Json(faces::openapi(endpoint, &places(&caller), Edition::V3_1)).into_response());
    }
    let Some(endpoint) = of("/llms.txt") else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    let standing = Workers::now(&state).await?.standing(endpoint);
    Ok(markdown(faces::llms_of(endpoint, &places(&caller), &standing)))
}

/// `GET /openapi.json`: the whole server.
pub(super) async fn openapi(Extension(caller): Extension<Caller>) -> Response {
    Json(faces::openapi_of_server(&places(&caller))).into_response()
}

/// `GET /llms.txt`.
pub(super) async fn overview(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refusal> {
    let workers = Workers::now(&state).await?;
    Ok(markdown(faces::llms(&places(&caller), &|endpoint| workers.standing(endpoint))))
}

pub(crate) fn markdown(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], text).into_response()
}

/// This server, as the caller reaches it.
fn places(caller: &Caller) -> Places {
    Places {
        run: caller.url(Service::Run, ""),
        queue: caller.url(Service::Queue, ""),
        pages: caller.url(Service::Platform, ""),
    }
}
