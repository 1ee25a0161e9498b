//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use scumble_files::Files;
use scumble_store::{Clock, Store};
use tokio::sync::Semaphore;

use crate::config::Config;
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
}

impl AppState {
    /// The state of a fresh gateway, within a runtime.
    pub fn new(store: Arc<dyn Store>, files: Files, clock: Arc<dyn Clock>, config: Config) -> Self {
        let direct = Arc::new(Semaphore::new(config.direct_calls));
        let watches = Watches::hear(store.changes());
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
        }))
    }

    /// # Errors
    /// Too little space is left for new work.
    pub(crate) fn room(&self) -> Result<(), crate::answer::Refusal> {
        self.room.check(&*self.store, &self.files, self.config.free_bytes)
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
