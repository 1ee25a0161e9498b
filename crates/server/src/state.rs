//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use scumble_files::Files;
use scumble_store::{Clock, Store};
use tokio::sync::Semaphore;

use crate::config::Config;

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Jobs, keys, file rows.
    pub store: Arc<dyn Store>,
    /// Image bytes.
    pub files: Files,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The owner's settings.
    pub config: Arc<Config>,
    /// Places for direct calls.
    pub(crate) direct: Arc<Semaphore>,
    /// Callers are known to need keys.
    pub(crate) keyed: Arc<AtomicBool>,
}

impl AppState {
    /// The state of a fresh gateway.
    pub fn new(store: Arc<dyn Store>, files: Files, clock: Arc<dyn Clock>, config: Config) -> Self {
        let direct = Arc::new(Semaphore::new(config.direct_calls));
        Self { store, files, clock, config: Arc::new(config), direct, keyed: Arc::default() }
    }
}
