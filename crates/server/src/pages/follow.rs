//! `GET /history/{id}/events`: how a request goes, while somebody looks at it.

use std::io;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::stream;
use scumble_store::{EventKind, Job, JobId, State as JobState};
use serde_json::{Value, json};

use super::job::{output, visible};
use super::layout::{base, private};
use super::visitor::Visitor;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::sse::{self, broken};
use crate::state::AppState;
use crate::stop::{Phase, Phases};
use crate::wait::stirred;
use crate::watch::{Watch, What};

/// A line at once, one whenever something has changed, and the end right after the outcome.
pub(super) async fn events(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let id = visible(&state, &visitor, &id).await?.id;
    // from before the first look, so that no change falls between the two
    let watch = state.watches.watch(id, What::Anything);
    let phases = state.stop.hear();
    let follower = Follower { base: base(&caller), state, id, watch, phases, seen: 0, said: Value::Null };
    let events = stream::unfold(Some(follower), |follower| async move { follower?.next().await });
    Ok(private(sse::response(events).into_response()))
}

/// Follows a request to its end.
struct Follower {
    state: AppState,
    base: String,
    id: JobId,
    watch: Watch,
    phases: Phases,
    /// The number of the last event that was taken in.
    seen: i64,
    /// What was said last.
    said: Value,
}

impl Follower {
    /// The next event, and whoever makes the one after it.
    async fn next(mut self) -> Option<(io::Result<Event>, Option<Self>)> {
        loop {
            match self.news().await {
                Ok(Some(news)) => {
                    let more = news.get("output").is_none();
                    return Some((sse::event(&news), more.then_some(self)));
                }
                // the request goes on without this server, or after its next start
                Ok(None) if self.phases.now() == Phase::Closing => return None,
                Ok(None) => stirred(&self.state, &self.watch, &mut self.phases).await,
                Err(error) => return Some((Err(error), None)),
            }
        }
    }

    /// How the request stands, where that was not said before.
    async fn news(&mut self) -> io::Result<Option<Value>> {
        let store = &self.state.store;
        let deleted = || broken("the request was deleted while it was followed");
        let job = store.summary(self.id).await.map_err(broken)?.ok_or_else(deleted)?;
        if job.state.is_end() {
            let job = store.job(self.id).await.map_err(broken)?.ok_or_else(deleted)?;
            return Ok(Some(self.end(&job)));
        }
        let mut news = json!({ "state": job.state.as_str() });
        if job.state == JobState::Queued {
            news["position"] = store.position(self.id).await.map_err(broken)?.unwrap_or(0).into();
        }
        for event in store.events(self.id, self.seen).await.map_err(broken)? {
            self.seen = event.seq;
            match event.kind {
                EventKind::Progress { stage, done, total } => {
                    news["progress"] = json!({ "stage": stage, "done": done, "total": total });
                }
                EventKind::Preview { image } => news["preview"] = image.into(),
                EventKind::Log { .. } | EventKind::State { .. } | EventKind::Submitted { .. } => {}
            }
        }
        if news == self.said {
            return Ok(None);
        }
        self.said = news.clone();
        Ok(Some(news))
    }

    fn end(&self, job: &Job) -> Value {
        json!({ "state": job.state.as_str(), "output": output(job, &self.base) })
    }
}
