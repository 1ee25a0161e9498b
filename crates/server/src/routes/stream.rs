//! `POST /run/{id}/stream`: the output as it comes into being.
//!
//! Each event has the shape of the output: a small picture of how far it is in the place of the pictures, and beside
//! that how far it is in numbers. There is none before the first such picture. The last event is the output itself.
//! Until the first event an error is an ordinary answer; later it can only break the connection.

use std::io;
use std::time::{Duration, Instant};

use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use scumble_api::Image;
use scumble_store::{EventKind, Job, JobId, Outcome, State};
use serde_json::{Map, Value, json};

use crate::addressing::Caller;
use crate::answer::{Refusal, about, outcome, resolve_urls};
use crate::sse::{self, broken};
use crate::state::AppState;
use crate::stop::Phases;
use crate::submit::{Call, Origin};
use crate::wait::{Hope, Wait, stirred};
use crate::watch::{Watch, What};

/// A job that runs for this long without a word has begun: proxies do not wait for headers for ever.
const GRACE: Duration = Duration::from_secs(1);

/// The id of the endpoint, where a path asks for its stream. Some clients append `/stream` to an id that has it.
pub(crate) fn endpoint_of(path: &str) -> Option<&str> {
    let mut id = path.trim_matches('/').strip_suffix("/stream")?;
    while let Some(rest) = id.strip_suffix("/stream") {
        id = rest;
    }
    Some(id)
}

/// Enqueues, then tells what happens to the job. A caller who goes away cancels it.
pub(super) async fn stream(from: Origin<'_>, mut call: Call) -> Result<Response, Refusal> {
    let Origin { state, caller, .. } = from;
    call.stream = true;
    settle_seed(&mut call);
    // from before the job exists, so that nothing about it can be missed
    let mut watch = state.watches.watch(call.id, What::Anything);
    let job = call.run(from).await?.job;
    if job.id != watch.id() {
        // repeated: this is the job of the first time
        watch = state.watches.watch(job.id, What::Anything);
    }
    let mut follower = Follower {
        state: state.clone(),
        caller: caller.clone(),
        id: job.id,
        wait: Wait::new(state, job.id),
        watch,
        phases: state.stop.hear(),
        seen: 0,
        draft: Draft::of(&job),
    };
    match follower.beginning().await? {
        Standing::Ended(ended) if ended.status >= 400 => Ok(outcome(job.id, ended, &state.files, caller).await),
        Standing::Gone => Ok(about(job.id, Refusal::plain(404, "Request not found").into_response())),
        Standing::Ended(_) | Standing::Going(_) => {
            let events = stream::unfold(Some(follower), |follower| async move { follower?.next().await });
            Ok(about(job.id, sse::response(events)))
        }
    }
}

/// Chooses the seed here where the caller left it open, so that the first event can name it.
fn settle_seed(call: &mut Call) {
    if call.endpoint.field("seed").is_some()
        && let Value::Object(body) = &mut call.body
        && body.get("seed").is_none_or(Value::is_null)
    {
        // the lowest 32 bits of a random UUID are random
        body.insert("seed".into(), Value::from(uuid::Uuid::new_v4().as_u128() as u32));
    }
}

/// How a job stands.
enum Standing {
    /// It has ended.
    Ended(Outcome),
    /// It waits or runs.
    Going(State),
    /// It was deleted.
    Gone,
}

/// Follows a job to its end.
struct Follower {
    state: AppState,
    caller: Caller,
    id: JobId,
    wait: Wait,
    watch: Watch,
    phases: Phases,
    /// The number of the last event that was taken in.
    seen: i64,
    draft: Draft,
}

impl Follower {
    /// Waits until there is something to say.
    async fn beginning(&mut self) -> Result<Standing, Refusal> {
        let mut running_since = None;
        loop {
            let standing = self.look().await?;
            if let Standing::Going(job) = standing {
                match self.wait.hope(&self.state, job).await {
                    Hope::Left => {}
                    Hope::Ended => continue,
                    Hope::Lost(refusal) => return Err(refusal),
                }
            }
            let patient = match standing {
                Standing::Ended(_) | Standing::Gone => false,
                Standing::Going(State::Running) => running_since.get_or_insert_with(Instant::now).elapsed() < GRACE,
                Standing::Going(_) => true,
            };
            if self.draft.is_news || !patient {
                return Ok(standing);
            }
            stirred(&self.state, &self.watch, &mut self.phases).await;
        }
    }

    /// The next event, and whoever makes the one after it.
    async fn next(mut self) -> Option<(io::Result<Event>, Option<Self>)> {
        loop {
            match self.look().await {
                Ok(Standing::Going(job)) => match self.wait.hope(&self.state, job).await {
                    Hope::Left => {}
                    Hope::Ended => continue,
                    Hope::Lost(_) => return Some((Err(broken("the server cannot go on with the request")), None)),
                },
                Ok(Standing::Ended(outcome)) => return Some((self.last(outcome).await, None)),
                Ok(Standing::Gone) => {
                    return Some((Err(broken("the request was deleted while it was followed")), None));
                }
                Err(error) => return Some((Err(broken(error)), None)),
            }
            if std::mem::take(&mut self.draft.is_news) {
                return Some((sse::event(&self.draft.to_json()), Some(self)));
            }
            stirred(&self.state, &self.watch, &mut self.phases).await;
        }
    }

    /// How the job stands; while it goes on its latest events are taken in.
    async fn look(&mut self) -> scumble_store::Result<Standing> {
        let store = &self.state.store;
        match store.summary(self.id).await? {
            Some(job) if !job.state.is_end() => {
                for event in store.events(self.id, self.seen).await? {
                    self.seen = event.seq;
                    self.draft.take_in(event.kind);
                }
                Ok(Standing::Going(job.state))
            }
            Some(_) | None => {
                self.wait.disarm();
                Ok(store.outcome(self.id).await?.map_or(Standing::Gone, Standing::Ended))
            }
        }
    }

    /// The complete output.
    async fn last(&self, outcome: Outcome) -> io::Result<Event> {
        let Outcome { status, mut body, .. } = outcome;
        if status >= 400 {
            return Err(broken("the job failed after its stream had begun"));
        }
        resolve_urls(&mut body, &self.state.files, &self.caller).await.map_err(broken)?;
        sse::event(&body)
    }
}

/// The output as far as it is known.
struct Draft {
    prompt: Value,
    seed: Value,
    images: Vec<Image>,
    progress: Value,
    /// Whether it was not shown yet as it is.
    is_news: bool,
}

impl Draft {
    fn of(job: &Job) -> Self {
        let field = |name: &str| job.input[name].clone();
        let (prompt, seed) = (field("prompt"), field("seed"));
        Self { prompt, seed, images: Vec::new(), progress: Value::Null, is_news: false }
    }

    fn take_in(&mut self, event: EventKind) {
        match event {
            EventKind::Progress { stage, done, total } => {
                self.progress = json!({ "stage": stage, "done": done, "total": total });
            }
            EventKind::Preview { image } => self.images = preview(image).into_iter().collect(),
            EventKind::Log { .. } | EventKind::State { .. } | EventKind::Submitted { .. } => return,
        }
        // there is something to see: clients look into `images` without asking
        self.is_news = !self.images.is_empty();
    }

    fn to_json(&self) -> Value {
        json!({
            "images": self.images,
            "timings": Map::new(),
            "seed": self.seed,
            "has_nsfw_concepts": vec![false; self.images.len()],
            "prompt": self.prompt,
            "progress": self.progress,
        })
    }
}

/// A preview in the shape of a picture.
fn preview(url: String) -> Option<Image> {
    let bytes = STANDARD.decode(url.strip_prefix("data:image/jpeg;base64,")?).ok()?;
    let (width, height) = jpeg_size(&bytes)?;
    Some(Image { url, width, height, content_type: "image/jpeg".into() })
}

/// Columns and rows of a JPEG file, from its frame header.
pub(crate) fn jpeg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let [0xff, marker, high, low, body @ ..] = rest else { return None };
        let number = |at: usize| Some(u32::from(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?])));
        // a frame: everything from C0 to CF but Huffman tables, arithmetic conditioning and what is reserved
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            return Some((number(3)?, number(1)?));
        }
        rest = body.get(usize::from(u16::from_be_bytes([*high, *low])).checked_sub(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_ends_in_stream_is_not_doubled() {
        assert_eq!(endpoint_of("fal-ai/flux/dev/stream"), Some("fal-ai/flux/dev"));
        assert_eq!(endpoint_of("/fal-ai/flux/dev/stream/stream/"), Some("fal-ai/flux/dev"));
        assert_eq!(endpoint_of("fal-ai/flux/dev"), None);
        assert_eq!(endpoint_of("fal-ai/stream-it"), None);
    }

    #[test]
    fn a_jpeg_tells_its_size_and_anything_else_does_not() {
        let frame = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xc0, 0, 11, 8, 0, 96, 1, 0, 1, 1, 0x11, 0];
        assert_eq!(jpeg_size(&frame), Some((256, 96)));
        for length in 0..17 {
            assert_eq!(jpeg_size(&frame[..length]), None);
        }
        assert_eq!(jpeg_size(&[0xff, 0xd8, 0xff, 0xe0, 0, 1, 0, 0]), None);
        assert_eq!(jpeg_size(b"not a jpeg at all"), None);
    }
}
