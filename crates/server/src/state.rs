//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use scumble_files::Files;
use scumble_meters::{End, EndpointLabel, set};
use scumble_store::{Cancel, Clock, JobId, Outcome, Store};
use tokio::sync::Semaphore;

use crate::census::Look;
use crate::config::Config;
use crate::last_use::LastUse;
use crate::pages::Tries;
use crate::room::Room;
use crate::stop::{Phase, Stop};
use crate::wait::Doubt;
use crate::watch::Watches;

/// Shared by all handlers; cheap to clone, and cloned several times on the way of a request.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What all clones share.
pub struct Shared {
    /// Jobs, keys, file rows.
    pub store: Arc<dyn Store>,
    /// Image bytes.
    pub files: Files,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The owner's settings.
    pub config: Config,
    /// Places for direct calls.
    pub(crate) direct: Arc<Semaphore>,
    /// Who waits for which job.
    pub(crate) watches: Watches,
    /// How far the server is on its way to the end.
    pub(crate) stop: Stop,
    room: Room,
    /// Whether anybody who waits waits in vain.
    pub(crate) doubt: Doubt,
    /// Failed sign-ins.
    pub(crate) tries: Tries,
    /// When keys were last used.
    pub(crate) last_use: LastUse,
    /// What was seen in the database for whoever watches.
    pub(crate) look: Look,
}

impl AppState {
    /// The state of a fresh gateway, within a runtime.
    pub fn new(store: Arc<dyn Store>, files: Files, clock: Arc<dyn Clock>, config: Config) -> Self {
        let direct = Arc::new(Semaphore::new(config.direct_calls));
        let watches = Watches::hear(store.changes());
        let memory = config.memory.clone();
        config.meters.when_seen(move |meters| {
            let (all, free) = (memory.bytes(), memory.free());
            set(&meters.http.held, all.saturating_sub(free) as f64);
            set(&meters.http.held_limit, all as f64);
        });
        Self(Arc::new(Shared {
            store,
            files,
            clock,
            config,
            direct,
            watches,
            stop: Stop::default(),
            room: Room::default(),
            doubt: Doubt::default(),
            tries: Tries::default(),
            last_use: LastUse::default(),
            look: Look::default(),
        }))
    }

    /// # Errors
    /// Too little space is left for new work.
    pub(crate) fn room(&self) -> Result<(), crate::answer::Refusal> {
        self.room.check(&*self.store, &self.files, self.config.free_bytes)
    }

    /// Asks to cancel a job. One that waited has ended then, here, and is counted and named in the log.
    pub(crate) async fn cancel(&self, id: JobId, outcome: Outcome) -> scumble_store::Result<Cancel> {
        let cancel = self.store.cancel(id, outcome).await?;
        if matches!(cancel, Cancel::Removed) {
            self.ended(id, End::Cancelled).await;
        }
        Ok(cancel)
    }

    /// Counts a job that has ended before a worker had it, and names it in the log.
    pub(crate) async fn ended(&self, id: JobId, end: End) {
        // a database that does not tell now has written the end all the same
        let endpoint = self.store.summary(id).await.ok().flatten().map(|job| job.endpoint).unwrap_or_default();
        self.config.meters.jobs.ended.of(EndpointLabel::of(&endpoint), end).inc();
        match end {
            End::Cancelled => tracing::info!(job.id = %id, endpoint.id = endpoint, "job cancelled while it waited"),
            End::Done | End::Failed => {
                tracing::info!(job.id = %id, endpoint.id = endpoint, "job ended: it did not start in time");
            }
        }
    }

    /// The server is about to stop: it is not ready any more, direct calls are refused in a way that may be repeated, and so
    /// are those that wait in line; they do not run. What is at work goes on.
    pub fn drain(&self) {
        self.stop.enter(Phase::Draining);
    }

    /// Until everything at work has ended that a caller waits for here, or it is [closing](AppState::close).
    pub async fn answered(&self) {
        self.stop.answered(&*self.store).await;
    }

    /// Nobody waits any more: who still does is refused, and the job cancelled. Streams that tell how a request goes end.
    pub fn close(&self) {
        self.stop.enter(Phase::Closing);
    }

    /// Until everybody has gone who waited, and the jobs of those who went without a result are cancelled. Close the database
    /// afterwards. A caller who does not read their stream keeps this waiting.
    pub async fn settled(&self) {
        self.stop.settled().await;
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
