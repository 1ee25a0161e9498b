//! `GET …/requests/{id}/status/stream`.

use std::io;

use axum::response::Response;
use axum::response::sse::Event;
use futures::stream;
use scumble_api::{QueueStatus, Status};
use scumble_store::JobId;

use super::status::{describe, lines};
use crate::addressing::Caller;
use crate::answer::about;
use crate::sse::{self, broken};
use crate::state::AppState;
use crate::stop::{Phase, Phases};
use crate::wait::stirred;
use crate::watch::{Watch, What};

/// A status at once, one whenever something has changed, and the end of the stream right after `COMPLETED`.
pub(super) fn stream(state: AppState, caller: Caller, id: JobId, logs: bool) -> Response {
    // from before the first look, so that no change falls between the two
    let watch = state.watches.watch(id, What::Anything);
    let phases = state.stop.hear();
    let follower = Follower { state, caller, id, logs, watch, phases, seen: 0, said: None };
    let events = stream::unfold(Some(follower), |follower| async move { follower?.next().await });
    about(id, sse::response(events))
}

/// Follows a request to its end.
struct Follower {
    state: AppState,
    caller: Caller,
    id: JobId,
    logs: bool,
    watch: Watch,
    phases: Phases,
    /// The number of the last event whose line was sent.
    seen: i64,
    /// The last status that was sent, and the position in it.
    said: Option<(Status, Option<u64>)>,
}

impl Follower {
    /// The next event, and whoever makes the one after it.
    async fn next(mut self) -> Option<(io::Result<Event>, Option<Self>)> {
        loop {
            match self.news().await {
                Ok(Some(status)) => {
                    let more = status.status != Status::Completed;
                    return Some((sse::event(&status), more.then_some(self)));
                }
                // the request goes on without this server, or after its next start
                Ok(None) if self.phases.now() == Phase::Closing => return None,
                Ok(None) => stirred(&self.state, &self.watch, &mut self.phases).await,
                Err(error) => return Some((Err(error), None)),
            }
        }
    }

    /// The status, where it says something that was not said before.
    async fn news(&mut self) -> io::Result<Option<QueueStatus>> {
        let store = &self.state.store;
        // the job before its log: whatever it logged was there before it ended
        let job = store.summary(self.id).await.map_err(broken)?;
        let job = job.ok_or_else(|| broken("the request was deleted while its status was followed"))?;
        let fresh = match self.logs {
            true => store.events(self.id, self.seen).await.map_err(broken)?,
            false => Vec::new(),
        };
        self.seen = fresh.last().map_or(self.seen, |event| event.seq);
        let lines = lines(fresh);
        let anything = !lines.is_empty();
        let logs = self.logs.then_some(lines);
        let status = describe(&self.state, &self.caller, &job, logs).await.map_err(broken)?;
        let said = (status.status, status.queue_position);
        let changed = self.said.replace(said) != Some(said);
        Ok((anything || changed).then_some(status))
    }
}
