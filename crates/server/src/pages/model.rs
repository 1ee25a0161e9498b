//! `/models/{id}`: an endpoint's form, its result, its reference.

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::context;
use scumble_api::faces::Places;
use scumble_api::{Endpoint, Kind, Problem, Scope};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::form;
use super::job::{typed, visible};
use super::layout::{Frame, json_text, private};
use super::reference::reference;
use super::snippets::snippets;
use super::values;
use super::visitor::{Change, Visitor, redirect};
use super::ways::Workers;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::hosts::Service;
use crate::platform::SubmitQuery;
use crate::routes::catalogue;
use crate::sent::Sent;
use crate::state::AppState;
use crate::submit::{Accepted, Call, Origin, endpoint};

/// `?from={request}`: the form as that request had it. `?image={path}`: with this picture of ours as its input.
#[derive(Default, Deserialize)]
pub(super) struct ModelQuery {
    from: Option<String>,
    image: Option<String>,
}

/// `GET /models/{id}`, and for programs `…/openapi.json` and `…/llms.txt`, which are everybody's.
pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    visitor: Result<Visitor, super::visitor::Turned>,
    Path(path): Path<String>,
    Query(query): Query<ModelQuery>,
) -> Response {
    if path.ends_with("/openapi.json") || path.ends_with("/llms.txt") {
        return catalogue::document(State(state), Extension(caller), Path(path)).await.into_response();
    }
    let visitor = match visitor {
        Ok(visitor) => visitor,
        Err(turned) => return turned.into_response(),
    };
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let page = async {
        let endpoint = endpoint(path.trim_end_matches('/'))?;
        let mut values = match &query.from {
            Some(id) => {
                let job = visible(&state, &visitor, id).await?;
                typed(&job, &caller)
            }
            None => endpoint.example(),
        };
        let field = endpoint.fields().iter().find(|field| matches!(field.kind, Kind::Image));
        if let (Some(field), Some(path)) = (field, query.image.filter(|path| path.starts_with("/files/"))) {
            values.insert(field.name.to_owned(), caller.url(Service::Cdn, &path).into());
        }
        page(&state, &frame, endpoint, &values, &[], StatusCode::OK).await
    };
    page.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// `POST /models/{id}`: a job. From a form it leads to the request's page; scripts get the request's id.
pub(super) async fn generate(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    headers: HeaderMap,
    Sent { by: Change(visitor), body }: Sent<Change>,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let by_script = headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let done = async {
        let endpoint = endpoint(&path)?;
        let mut call = match by_script {
            true => Call::read(endpoint.id, &body)?,
            false => Call {
                body: Value::Object(values::input(endpoint, &values::pairs(&body))),
                ..Call::read(endpoint.id, &Bytes::new())?
            },
        };
        if let Err(problems) = endpoint.parse(&call.body, Scope::Wire) {
            if by_script {
                return Err(scumble_api::ErrorAnswer::invalid(&problems).into());
            }
            let typed = call.body.as_object().cloned().unwrap_or_default();
            return page(&state, &frame, endpoint, &typed, &problems, StatusCode::UNPROCESSABLE_ENTITY).await;
        }
        // previews are for those who watch
        call.stream = true;
        let authorized = Authorized::of_key(visitor.key_id.clone());
        let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
        let Accepted { job, .. } = call.submit(from, SubmitQuery::default()).await?;
        Ok(match by_script {
            true => private(Json(json!({ "request_id": job.id.to_string() })).into_response()),
            false => redirect(&caller, &format!("/history/{}", job.id), None),
        })
    };
    done.await.unwrap_or_else(|refusal: Refusal| match by_script {
        true => private(refusal.into_response()),
        false => frame.refusal(&refusal),
    })
}

async fn page(
    state: &AppState,
    frame: &Frame<'_>,
    endpoint: &'static Endpoint,
    values: &Map<String, Value>,
    problems: &[Problem],
    status: StatusCode,
) -> Result<Response, Refusal> {
    let places = places(frame.caller);
    let workers = Workers::now(state).await?;
    let way = workers.way(endpoint);
    let content = context! {
        title => endpoint.title,
        id => endpoint.id,
        description => endpoint.description,
        family => endpoint.family.title(),
        category => endpoint.category(),
        way => way,
        usual_size => form::usual_size(endpoint),
        fields => form::form(endpoint, values, problems, workers.checks(endpoint).as_deref()),
        problems => form::elsewhere(endpoint, problems),
        refused => problems.len(),
        snippets => snippets(endpoint, &places, &Value::Object(said(endpoint, values))),
        reference => reference(endpoint),
        run => places.run,
        queue => places.queue,
        pages => places.pages,
        output => json_text(&json!({ "seed": endpoint.output.seed })),
    };
    Ok(frame.with_status(status, "model.html", "models", &content))
}

/// The values that say something: those that are no defaults.
fn said(endpoint: &Endpoint, values: &Map<String, Value>) -> Map<String, Value> {
    let news = |name: &str, value: &Value| {
        !value.is_null() && endpoint.field(name).is_none_or(|f| f.is_required() || f.default().as_ref() != Some(value))
    };
    values.iter().filter(|(name, value)| news(name, value)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// This server, as the caller reaches it.
fn places(caller: &Caller) -> Places {
    Places {
        run: caller.url(Service::Run, ""),
        queue: caller.url(Service::Queue, ""),
        pages: caller.url(Service::Platform, ""),
    }
}
