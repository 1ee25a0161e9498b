//! Whether somebody wants the work to end: what it has left on the disk is cleared away then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;

/// Set by Ctrl-C, and by the signal with which services are stopped.
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn on_signals(runtime: &tokio::runtime::Runtime) -> Self {
        let told = Arc::new(AtomicBool::new(false));
        let tell = told.clone();
        runtime.spawn(async move {
            asked().await;
            tell.store(true, Ordering::Release);
        });
        Self(told)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// # Errors
    /// It is wanted.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.is_wanted() { Err(Failure::Interrupted) } else { Ok(()) }
    }
}

#[cfg(unix)]
async fn asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return interrupted().await };
    tokio::select! {
        () = interrupted() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked() {
    interrupted().await;
}

/// For ever where the system does not tell.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
