//! Requests that did not start in the time that their callers gave them. The gateway took them on, so it ends them,
//! whether a worker lives or not.

use std::time::Duration;

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_meters::End;
use scumble_store::{Outcome, Result};
use tokio_util::sync::CancellationToken;

use crate::state::AppState;

/// How often to look: callers count seconds.
const PAUSE: Duration = Duration::from_millis(250);

/// Ends such requests until `closing` is cancelled.
pub async fn end_overdue(state: AppState, closing: CancellationToken) {
    let mut looks = tokio::time::interval(PAUSE);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = closing.cancelled() => return,
        }
        if let Err(error) = end(&state).await {
            tracing::error!(%error, "requests that nobody started in time could not be ended; it is tried again");
        }
    }
}

async fn end(state: &AppState) -> Result<()> {
    for id in state.store.overdue().await? {
        let answer =
            ErrorAnswer::typed(ErrorType::RequestTimeout, "The request did not start in the time it was given");
        if state.store.end_unstarted(id, Outcome::from(&answer)).await? {
            state.ended(id, End::Failed).await;
        }
    }
    Ok(())
}
