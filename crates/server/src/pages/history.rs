//! `GET /history`: requests with what went in and what came out, newest first.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use minijinja::context;
use scumble_api::ENDPOINTS;
use scumble_store::{HistoryFilter, Job, State as JobState};
use serde::Deserialize;

use super::job::summary;
use super::layout::{Frame, base};
use super::visitor::Visitor;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::state::AppState;

const PAGE: u32 = 24;

/// What the filter offers, and which states it means.
const STATES: [(&str, &str, &[JobState]); 4] = [
    ("done", "Done", &[JobState::Done]),
    ("alive", "Waiting or running", &[JobState::Queued, JobState::Leased, JobState::Running]),
    ("failed", "Failed", &[JobState::Failed]),
    ("cancelled", "Cancelled", &[JobState::Cancelled]),
];

/// `?model=…&state=…&before=…`.
#[derive(Default, Deserialize)]
pub(super) struct HistoryQuery {
    #[serde(default)]
    model: String,
    #[serde(default)]
    state: String,
    before: Option<String>,
}

pub(super) async fn list(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    visitor: Visitor,
    Query(query): Query<HistoryQuery>,
) -> Response {
    let frame = Frame { caller: &caller, visitor: Some(&visitor) };
    let named = STATES.iter().find(|(name, ..)| *name == query.state);
    let filter = HistoryFilter {
        key_id: visitor.key_id.clone(),
        endpoint: Some(query.model.clone()).filter(|model| !model.is_empty()),
        states: named.map_or_else(Vec::new, |(_, _, states)| states.to_vec()),
        before: query.before.as_deref().and_then(|seq| seq.parse().ok()),
        // one more tells whether there is another page
        limit: PAGE + 1,
    };
    let mut jobs = match state.store.history(&filter).await {
        Ok(jobs) => jobs,
        Err(error) => return frame.refusal(&Refusal::from(error)),
    };
    let more = jobs.len() > PAGE as usize;
    jobs.truncate(PAGE as usize);
    let address = |before: Option<i64>| {
        let mut asked = form_urlencoded::Serializer::new(String::new());
        asked.append_pair("model", &query.model).append_pair("state", &query.state);
        if let Some(seq) = before {
            asked.append_pair("before", &seq.to_string());
        }
        asked.finish()
    };
    let older = jobs.last().filter(|_| more).map(|job| address(Some(job.seq)));
    let newest = filter.before.map(|_| address(None));
    let base = base(&caller);
    let requests: Vec<_> = jobs.iter().map(|job: &Job| summary(job, &base)).collect();
    let models: Vec<_> = ENDPOINTS.iter().map(|e| context! { id => e.id, title => e.title }).collect();
    let states: Vec<_> = STATES.iter().map(|(name, text, _)| context! { name => name, text => text }).collect();
    let content = context! {
        title => "History", requests => requests, models => models, states => states, model => query.model,
        state => query.state, older => older, newest => newest,
        filtered => filter.endpoint.is_some() || named.is_some(),
    };
    frame.page("history.html", "history", &content)
}
