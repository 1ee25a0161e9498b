//! `/history/{id}`: one request, and what can be done with it.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use minijinja::context;
use scumble_api::{ErrorAnswer, ErrorType, FILE_SCHEME, INLINE_SCHEME, Kind, cut};
use scumble_files::FilePath;
use scumble_store::{EventKind, Job, JobId, Outcome};
use serde_json::{Map, Value, json};

use super::labels::{duration, iso, label, moment};
use super::layout::{Frame, base};
use super::values::pairs;
use super::visitor::{Change, Visitor, redirect};
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::auth::{Authorized, is_there_for};
use crate::hosts::Service;
use crate::platform::SubmitQuery;
use crate::sent::{FORM, Sent};
use crate::state::AppState;
use crate::submit::{Accepted, Call, Origin};

/// Texts beyond this are cut in lists and tables.
const LONG: usize = 4000;

/// How much of an error is shown: older versions kept more.
const DETAIL_BYTES: usize = 64 * 1024;

/// A request that this visitor may see: their own, or one from the time before there were keys.
pub(super) async fn visible(state: &AppState, visitor: &Visitor, id: &str) -> Result<Job, Refusal> {
    let not_found = || Refusal::plain(404, "There is no such request, or it is not yours");
    let id: JobId = id.parse().map_err(|_| not_found())?;
    let job = state.store.job(id).await?.ok_or_else(not_found)?;
    if is_there_for(visitor.key_id.as_deref(), job.key_id.as_deref()) { Ok(job) } else { Err(not_found()) }
}

/// `GET /history/{id}`.
pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let page = async {
        let job = visible(&state, &visitor, &id).await?;
        let events = state.store.events(job.id, 0).await?;
        let line =
            |at_ms: i64, level: &str, text: String| context! { at => moment(at_ms), level => level, text => text };
        let lines: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event.kind {
                EventKind::Log { level, message } => Some(line(event.at_ms, level.as_str(), message)),
                EventKind::State { state, reason } => {
                    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                    Some(line(event.at_ms, "STATE", format!("{state}{why}")))
                }
                EventKind::Progress { .. } | EventKind::Preview { .. } | EventKind::Submitted { .. } => None,
            })
            .collect();
        let base = base(&caller);
        let content = context! {
            title => "Request",
            request => summary(&job, &base),
            inputs => inputs(&job, &base),
            output => output(&job, &base),
            raw_output => job.outcome.as_ref().map(|outcome| clip(&format!("{:#}", with_addresses(&outcome.body, &base)))),
            lines => lines,
        };
        Ok(frame.page("job.html", "history", &content))
    };
    page.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// `POST /history/{id}/cancel`.
pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Sent { by: Change(visitor), body }: Sent<Change, FORM>,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let done = async {
        let job = visible(&state, &visitor, &id).await?;
        let outcome = Outcome::from(&ErrorAnswer::typed(ErrorType::ClientCancelled, "Request was cancelled"));
        state.cancel(job.id, outcome).await?;
        Ok(redirect(&caller, &back(&body, &format!("/history/{}", job.id)), None))
    };
    done.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// `POST /history/{id}/again`: the same input as a new request.
pub(super) async fn again(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Change(visitor): Change,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let done = async {
        let job = visible(&state, &visitor, &id).await?;
        let copied = state.store.given_files(job.id).await?;
        let call = Call { body: job.input, stream: true, copied, ..Call::read(&job.endpoint, &Bytes::new())? };
        let authorized = Authorized::of_key(visitor.key_id.clone());
        let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
        let Accepted { job, .. } = call.submit(from, SubmitQuery::default()).await?;
        Ok(redirect(&caller, &format!("/history/{}", job.id), None))
    };
    done.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// `POST /history/{id}/delete`: the request and its pictures.
pub(super) async fn delete(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Change(visitor): Change,
    Path(id): Path<String>,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let done = async {
        let job = visible(&state, &visitor, &id).await?;
        let Some(files) = state.store.delete_job(job.id).await? else {
            return Err(Refusal::plain(400, "A request that has not ended cannot be deleted: cancel it first"));
        };
        for file in files {
            // bytes first: in the other order a crash would leave bytes that nobody knows of
            let path = file.path.parse().ok();
            if let Some(path) = &path {
                state.files.delete(path).await?;
            }
            state.store.forget_file(&file.path).await?;
            // from the database they may have got into the folder meanwhile
            if let Some(path) = &path {
                state.files.delete(path).await?;
            }
        }
        Ok(redirect(&caller, "/history", None))
    };
    done.await.unwrap_or_else(|refusal: Refusal| frame.refusal(&refusal))
}

/// Where a form wants to be led to: the list of jobs, or else the page it came from.
fn back(body: &[u8], usual: &str) -> String {
    match pairs(body).get("back").map(String::as_str) {
        Some("jobs") => "/jobs".to_owned(),
        _ => usual.to_owned(),
    }
}

/// What a maker was paid for it, and who that is: `$0.04 to bfl`.
fn cost(outcome: &Outcome) -> Option<String> {
    let (maker, usd) = outcome.paid()?;
    Some(format!("${} to {maker}", usd.parse::<f64>().ok()?))
}

/// What lists show of a request.
pub(super) fn summary(job: &Job, base: &str) -> Value {
    let endpoint = scumble_api::find(&job.endpoint);
    let outcome = job.outcome.as_ref();
    let ended_ms = job.finished_ms.zip(Some(job.created_ms)).map(|(end, begin)| duration(end - begin));
    json!({
        "id": job.id.to_string(),
        "endpoint": job.endpoint,
        "title": endpoint.map_or(job.endpoint.as_str(), |endpoint| endpoint.title),
        "known": endpoint.is_some(),
        "prompt": job.input["prompt"].as_str().map(|prompt| prompt.chars().take(600).collect::<String>()),
        "state": job.state.as_str(),
        "alive": !job.state.is_end(),
        "created": moment(job.created_ms),
        "created_iso": iso(job.created_ms),
        "took": ended_ms,
        "ran": outcome.and_then(|outcome| outcome.inference_ms).map(duration),
        "cost": outcome.and_then(cost),
        "error": outcome.and_then(|outcome| outcome.error.as_deref()).map(clip),
        "pictures": outcome.map_or_else(Vec::new, |outcome| pictures(outcome, base)),
        "attempt": job.attempt,
    })
}

/// The pictures of an outcome, as this page can show them.
pub(super) fn pictures(outcome: &Outcome, base: &str) -> Vec<Value> {
    let images = outcome.body["images"].as_array().map_or(&[][..], Vec::as_slice);
    let picture = |(at, image): (usize, &Value)| {
        let url = own_url(image["url"].as_str()?, base)?;
        let name = url.rsplit('/').next().unwrap_or_default().to_owned();
        Some(json!({
            "url": url, "width": image["width"].as_u64(), "height": image["height"].as_u64(), "name": name,
            "content_type": image["content_type"],
            "flagged": outcome.body["has_nsfw_concepts"][at] == true,
        }))
    };
    images.iter().enumerate().filter_map(picture).collect()
}

/// A file of ours by the path that pages reach it by; other places are not opened.
fn own_url(url: &str, base: &str) -> Option<String> {
    if url.starts_with("data:image/") {
        return Some(url.to_owned());
    }
    let path = url.strip_prefix(FILE_SCHEME).or_else(|| url.strip_prefix(INLINE_SCHEME))?;
    Some(format!("{base}/files/{path}"))
}

/// What a result shows: pictures, seed, timings, or what went wrong. Null before the end.
pub(super) fn output(job: &Job, base: &str) -> Value {
    let Some(outcome) = &job.outcome else { return Value::Null };
    let body = &outcome.body;
    let timing = |(stage, seconds): (&String, &Value)| json!({ "stage": label(stage), "text": duration((seconds.as_f64().unwrap_or(0.0) * 1000.0) as i64) });
    let timings: Vec<Value> = body["timings"].as_object().into_iter().flatten().map(timing).collect();
    json!({
        "ok": outcome.status < 400,
        "status": outcome.status,
        "pictures": pictures(outcome, base),
        // as text: scripts would round large ones
        "seed": body.get("seed").filter(|seed| seed.is_number()).map(Value::to_string),
        "timings": timings,
        "stand_in": outcome.headers.contains_key("x-scumble-stand-in"),
        "took": job.finished_ms.map(|end| duration(end - job.created_ms)),
        "ran": outcome.inference_ms.map(duration),
        "cost": cost(outcome),
        "error": outcome.error,
        "detail": if outcome.status < 400 { Value::Null } else { cut(&body["detail"], DETAIL_BYTES) },
    })
}

/// The fields that went in, in the endpoint's order.
fn inputs(job: &Job, base: &str) -> Vec<Value> {
    let empty = Map::new();
    let values = job.input.as_object().unwrap_or(&empty);
    let endpoint = scumble_api::find(&job.endpoint);
    let row = |(name, value): (&String, &Value)| {
        let kind = endpoint.and_then(|endpoint| endpoint.field(name)).map(|field| &field.kind);
        let picture = match (kind.map(Kind::single), value) {
            (Some(Kind::Image | Kind::Mask { .. }), Value::String(url)) => shown_input(url, job, base),
            _ => None,
        };
        let text = match value {
            Value::String(text) => clip(text),
            Value::Object(_) | Value::Array(_) => clip(&format!("{:#}", with_addresses(value, base))),
            other => other.to_string(),
        };
        json!({ "name": name, "label": label(name), "text": text, "picture": picture, "block": value.is_array() || value.is_object() })
    };
    values.iter().filter(|(_, value)| !value.is_null()).map(row).collect()
}

/// An input picture that this page can show without asking anybody else.
fn shown_input(url: &str, job: &Job, base: &str) -> Option<String> {
    if let Some(own) = own_url(url, base) {
        return Some(own);
    }
    let cdn = job.options["base_urls"]["cdn"].as_str()?;
    let path = url.strip_prefix(cdn)?.strip_prefix("/files/")?;
    Some(format!("{base}/files/{path}"))
}

/// The input of a job as somebody could have typed it.
pub(super) fn typed(job: &Job, caller: &Caller) -> Map<String, Value> {
    match with_addresses(&job.input, &caller.url(Service::Cdn, "")) {
        Value::Object(values) => values,
        _ => Map::new(),
    }
}

/// A value of an input or output with the addresses of the files that it refers to.
fn with_addresses(value: &Value, base: &str) -> Value {
    match value {
        Value::String(text) => {
            let path = text.strip_prefix(FILE_SCHEME).or_else(|| text.strip_prefix(INLINE_SCHEME));
            match path.map(str::parse::<FilePath>) {
                Some(Ok(path)) => format!("{base}/files/{path}").into(),
                _ => value.clone(),
            }
        }
        Value::Array(items) => items.iter().map(|item| with_addresses(item, base)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_addresses(value, base))).collect()
        }
        other => other.clone(),
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(LONG) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
