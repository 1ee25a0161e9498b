//! `stream: true`: how the first picture comes into being, then the pictures.
//!
//! Until the first event an error is an ordinary answer; later it is an event, which clients raise.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use axum::response::Response;
use axum::response::sse::Event;
use futures::stream;
use scumble_api::{OpenAiCall, OpenAiEvent, openai_error_event};
use scumble_store::{EventKind, Outcome, State};
use tokio::sync::OwnedSemaphorePermit;

use super::jobs::Going;
use super::refused::Refused;
use super::shown::{self, Shown};
use crate::addressing::Caller;
use crate::answer::about;
use crate::sse;
use crate::state::AppState;
use crate::stop::Phases;
use crate::submit::Origin;
use crate::wait::{Hope, stirred};

/// A job that runs for this long without a word has begun: proxies do not wait for headers for ever.
const GRACE: Duration = Duration::from_secs(1);

/// Follows the jobs of a call, one after the other. A caller who goes away cancels them.
pub(super) async fn stream(
    from: Origin<'_>,
    call: OpenAiCall,
    going: Vec<Going>,
    place: OwnedSemaphorePermit,
) -> Result<Response, Refused> {
    let id = going.first().map(|going| going.id);
    let mut follower = Follower {
        state: from.state.clone(),
        caller: from.caller.clone(),
        partials: Partials { most: call.partials.unwrap_or_default(), sent: 0, progress: 0.0 },
        call,
        going: going.into(),
        phases: from.state.stop.hear(),
        seen: 0,
        ready: VecDeque::new(),
        _place: place,
    };
    follower.begin().await?;
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        let data = sse::ascii(&event.data.to_string());
        Some((Ok(Event::default().event(event.name).data(data)), follower))
    });
    let response = sse::response(events);
    Ok(match id {
        Some(id) => about(id, response),
        None => response,
    })
}

struct Follower {
    state: AppState,
    caller: Caller,
    call: OpenAiCall,
    /// Those that have not ended.
    going: VecDeque<Going>,
    phases: Phases,
    /// The number of the last event of the first job that was taken in.
    seen: i64,
    partials: Partials,
    /// What there is to say.
    ready: VecDeque<OpenAiEvent>,
    _place: OwnedSemaphorePermit,
}

/// How the first job stands.
enum Standing {
    /// It waits, or runs.
    Going(State),
    /// It has ended well, or all have.
    Ended,
}

impl Follower {
    /// Waits until there is something to say.
    async fn begin(&mut self) -> Result<(), Refused> {
        let mut running_since = None;
        loop {
            let patient = match self.look().await? {
                Standing::Ended => false,
                Standing::Going(State::Running) => running_since.get_or_insert_with(Instant::now).elapsed() < GRACE,
                Standing::Going(_) => true,
            };
            if !patient || !self.ready.is_empty() {
                return Ok(());
            }
            self.wait().await;
        }
    }

    /// The next event; none when everything was said.
    async fn next(&mut self) -> Option<OpenAiEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.going.is_empty() {
                return None;
            }
            match self.look().await {
                Ok(Standing::Going(_)) if self.ready.is_empty() => self.wait().await,
                Ok(_) => {}
                Err(refused) => {
                    tracing::warn!(error = refused.error.message, "a stream ends with an error");
                    // what the others do is of no use any more
                    self.going.clear();
                    return Some(openai_error_event(&refused.error));
                }
            }
        }
    }

    async fn wait(&mut self) {
        if let Some(going) = self.going.front() {
            stirred(&self.state, &going.watch, &mut self.phases).await;
        }
    }

    /// Takes in what has happened to the first of the jobs.
    async fn look(&mut self) -> Result<Standing, Refused> {
        let Some(id) = self.going.front().map(|going| going.id) else { return Ok(Standing::Ended) };
        let store = self.state.store.clone();
        if let Some(job) = store.summary(id).await?.filter(|job| !job.state.is_end())
            && self.goes_on(job.state).await?
        {
            // of several jobs the first shows its way
            if self.partials.are_wanted() && self.going.len() == self.call.inputs.len() {
                for event in store.events(id, self.seen).await? {
                    self.seen = event.seq;
                    self.take_in(event.kind);
                }
            }
            return Ok(Standing::Going(job.state));
        }
        let outcome = store.outcome(id).await?;
        if let Some(mut going) = self.going.pop_front() {
            going.wait.disarm();
        }
        match outcome {
            Some(outcome) if outcome.status < 400 => self.complete(outcome).await?,
            Some(outcome) => return Err(Refused::outcome(id, outcome)),
            None => return Err(Refused::gone(id)),
        }
        Ok(Standing::Ended)
    }

    /// Whether a job in this state goes on; it may have ended meanwhile.
    ///
    /// # Errors
    /// There is no use in waiting for it, because the server stops for example.
    async fn goes_on(&mut self, job: State) -> Result<bool, Refused> {
        let Some(going) = self.going.front_mut() else { return Ok(false) };
        match going.wait.hope(&self.state, job).await {
            Hope::Left => Ok(true),
            Hope::Ended => Ok(false),
            Hope::Lost(refusal) => Err(refusal.into()),
        }
    }

    fn take_in(&mut self, event: EventKind) {
        match event {
            EventKind::Progress { done, total, .. } => {
                self.partials.progress = f64::from(done) / f64::from(total.max(1));
            }
            EventKind::Preview { image } => {
                if let Some((index, base64)) = image.split_once(',').and_then(|(_, b)| Some((self.partials.next()?, b)))
                {
                    self.ready.push_back(OpenAiEvent::partial(&self.call, self.now_s(), index, base64));
                }
            }
            EventKind::Log { .. } | EventKind::State { .. } | EventKind::Submitted { .. } => {}
        }
    }

    /// The pictures of a job.
    async fn complete(&mut self, outcome: Outcome) -> Result<(), Refused> {
        let mut body = outcome.body;
        for Shown { text, size, format } in shown::pictures(&mut body, true, &self.state, &self.caller).await? {
            let event = OpenAiEvent::completed(&self.call, self.now_s(), &text, size.as_deref(), format);
            self.ready.push_back(event);
        }
        Ok(())
    }

    fn now_s(&self) -> i64 {
        self.state.clock.now_ms() / 1000
    }
}

/// Which of the previews are shown: the first at once, the others spread over the way.
struct Partials {
    most: u64,
    sent: u64,
    /// How far the run is, from 0 to 1.
    progress: f64,
}

impl Partials {
    const fn are_wanted(&self) -> bool {
        self.sent < self.most
    }

    /// The number of a preview that comes now, if it is shown.
    fn next(&mut self) -> Option<u64> {
        let due = self.sent as f64 / self.most as f64;
        (self.are_wanted() && self.progress >= due).then(|| {
            self.sent += 1;
            self.sent - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_spread_over_the_way() {
        let shown = |most: u64| {
            let mut partials = Partials { most, sent: 0, progress: 0.0 };
            let steps = [1, 4, 7, 10, 13].into_iter();
            let shown = steps.filter(|step| {
                partials.progress = f64::from(*step) / 16.0;
                partials.next().is_some()
            });
            shown.collect::<Vec<i32>>()
        };
        assert_eq!([shown(0), shown(1), shown(2), shown(3)], [vec![], vec![1], vec![1, 10], vec![1, 7, 13]]);
    }
}
