//! A worker says that it is there and what it answers, so that pages can tell.

use std::time::Duration;

use scumble_api::{AboutWorker, ENDPOINTS};
use tokio_util::sync::CancellationToken;

use crate::work::Worker;

/// How often. Readers take a worker for gone after three times this.
const PAUSE: Duration = Duration::from_secs(10);

/// Announces itself now and every few seconds, and says goodbye when it drains.
pub(crate) async fn announce(worker: Worker, drain: CancellationToken) {
    let name = &worker.config.name;
    let about = match serde_json::to_value(about(&worker)) {
        Ok(about) => about,
        Err(error) => return tracing::error!(%error, "the worker cannot say what it is"),
    };
    let mut pause = tokio::time::interval(PAUSE);
    loop {
        tokio::select! {
            _ = pause.tick() => {
                if let Err(error) = worker.store.announce_worker(name, about.clone()).await {
                    tracing::warn!(%error, "the worker cannot announce itself; it is tried again");
                }
            }
            () = drain.cancelled() => break,
        }
    }
    // one that cannot say goodbye is missed soon enough
    let _ = worker.store.retire_worker(name).await;
}

fn about(worker: &Worker) -> AboutWorker {
    let answers = ENDPOINTS.iter().map(|endpoint| (endpoint.id.to_owned(), worker.models.answers(endpoint)));
    // those that only wait for makers
    let far = if worker.models.far().is_empty() { 0 } else { worker.config.far_concurrency.max(1) };
    AboutWorker {
        device: worker.models.device(),
        slots: worker.near_slots() + far,
        far_slots: far,
        answers: answers.collect(),
        checks: worker.models.checks(),
    }
}
