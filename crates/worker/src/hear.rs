//! Waiting for what is announced.

use scumble_store::Change;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Until a change that matters is announced, or may have been: whoever waited has to look.
pub(crate) async fn hear(changes: &mut Receiver<Change>, matters: impl Fn(&Change) -> bool) {
    loop {
        match changes.recv().await {
            Ok(change) if matters(&change) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // no announcements any more; all who wait also look from time to time
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
