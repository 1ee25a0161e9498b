//! SIGTERM and SIGINT, which is what Ctrl-C sends: both ask to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Runtime;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Hears both, from when it was made.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(unix)]
    interrupt: Signal,
}

impl Signals {
    /// Within a runtime.
    ///
    /// # Errors
    /// A system that does not let it listen.
    pub(crate) fn new() -> Result<Self, Failure> {
        #[cfg(unix)]
        let listen = |kind| signal(kind).map_err(|e| Failure::System(format!("cannot listen for signals: {e}")));
        Ok(Self {
            #[cfg(unix)]
            terminate: listen(SignalKind::terminate())?,
            #[cfg(unix)]
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Until the next one.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Is true once somebody has asked to stop; whoever works looks at it within a step.
///
/// # Errors
/// As [`Signals::new`].
pub(crate) fn on_interrupt(runtime: &Runtime) -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = interrupted.clone();
    let mut signals = {
        let _within = runtime.enter();
        Signals::new()?
    };
    runtime.spawn(async move {
        signals.next().await;
        told.store(true, Ordering::Release);
    });
    Ok(interrupted)
}
