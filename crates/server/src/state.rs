//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use scumble_files::Files;
use scumble_store::{Clock, Store};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::pages::Tries;
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
    /// Failed sign-ins.
    pub(crate) tries: Tries,
}

impl AppState {
    /// The state of a fresh gateway, within a runtime.
    pub fn new(store: Arc<dyn Store>, files: Files, clock: Arc<dyn Clock>, config: Config) -> Self {
        let direct = Arc::new(Semaphore::new(config.direct_calls));
        let watches = Watches::hear(store.changes());
        Self(Arc::new(Shared { store, files, clock, config, direct, watches, tries: Tries::default() }))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
