//! What every handler can reach.

use std::sync::Arc;

use scumble_files::Files;
use scumble_store::{Clock, Store};

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
}
