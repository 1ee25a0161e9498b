//! Models between jobs: loaded before the first one, let go when nobody asks for them any more.

use std::sync::Arc;
use std::time::Duration;

use scumble_engine::{Pixels, Stage};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::models::Models;
use crate::runner::Watch;

/// Loads what the owner wants to be there, one model after the other, until `drain` is cancelled.
pub(crate) async fn preload(models: Arc<Models>, drain: CancellationToken) {
    for endpoint in models.preloaded() {
        let (runner, waiting) = (models.runner(endpoint), Waiting { endpoint: endpoint.id, drain: drain.clone() });
        tracing::info!(endpoint.id = endpoint.id, "its model is loaded before anybody asks for it");
        let loaded = spawn_blocking(move || runner.preload(endpoint, &waiting)).await;
        match loaded {
            Ok(Some(Ok(()))) => tracing::info!(endpoint.id = endpoint.id, "its model is loaded"),
            Ok(Some(Err(error))) if !drain.is_cancelled() => {
                tracing::error!(endpoint.id = endpoint.id, %error, "its model cannot be loaded; each of its jobs tries it again");
            }
            Ok(None | Some(Err(_))) => {}
            Err(error) => {
                tracing::error!(endpoint.id = endpoint.id, %error, "the loading of its model ended unexpectedly");
            }
        }
    }
}

/// Lets go of models that nobody has used for as long as the owner says.
pub(crate) async fn let_go_idle(models: Arc<Models>) {
    let Some(longest) = models.keep_alive() else { return };
    let mut look = tokio::time::interval((longest / 4).clamp(OFTEN, SELDOM));
    loop {
        look.tick().await;
        let models = models.clone();
        // giving gigabytes back takes its time
        if let Err(error) = spawn_blocking(move || models.let_go_idle(longest)).await {
            tracing::error!(%error, "idle models could not be let go; it is tried again");
        }
    }
}

/// How often to look for idle models.
const OFTEN: Duration = Duration::from_millis(10);
const SELDOM: Duration = Duration::from_secs(10);

/// Nobody but the server's log hears of a load before its time.
struct Waiting {
    endpoint: &'static str,
    drain: CancellationToken,
}

impl Watch for Waiting {
    fn stage(&self, _: Stage) {}

    fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}

    fn log(&self, message: &str) {
        tracing::info!(endpoint.id = self.endpoint, "{message}");
    }

    fn cancelled(&self) -> bool {
        self.drain.is_cancelled()
    }
}
