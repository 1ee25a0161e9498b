//! `scumble serve`: gateway and worker in one process, or either of them.

mod descriptors;
mod https;
mod print;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use scumble_server::AppState;
use scumble_server::listen::{self, Listening};
use scumble_store::{Store, SystemClock};
use scumble_worker::{Models, Worker};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::{Role, Serve};
use crate::failure::Failure;
use crate::private;
use crate::settings::{Settings, open_files, open_store, runtime};
use https::Https;

/// After the last job of a drain has ended, its caller gets this long to fetch the answer.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Serves until told to stop.
pub(crate) fn serve(args: &Serve) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let settings = Settings::read(args)?;
    private::begin(&settings);
    private::mend(&settings);
    runtime()?.block_on(serve_settings(settings))
}

async fn serve_settings(settings: Settings) -> Result<(), Failure> {
    // from the start: who is told to stop while starting stops in the same order
    let signals = Signals::new().map_err(|e| Failure::System(format!("cannot listen for signals: {e}")))?;
    let store = open_store(&settings.database).await?;
    refuse_strangers(&settings, &*store).await?;
    if settings.role != Role::All && !settings.database.is_shared() {
        tracing::info!("a gateway and its workers meet in {}: all on this machine", settings.database);
    }
    let files = scumble_worker::with_fresh(open_files(&settings.files)?, store.clone());
    let models = Arc::new(Models::new(&settings.models).map_err(Failure::Usage)?);
    let clock = Arc::new(SystemClock);
    let state = AppState::new(store.clone(), files.clone(), clock.clone(), settings.server.clone());
    let closing = CancellationToken::new();
    let serving = start_listening(&settings, state.clone(), &closing).await?;
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let working = (settings.role != Role::Gateway).then(|| {
        let worker = Worker { store: store.clone(), files, models, clock, config: settings.worker.clone() };
        tokio::spawn(worker.run(drain.clone(), stop.clone()))
    });
    tracing::info!("{}; [retention] results_s says otherwise", kept(&settings.worker));
    drain_on_signal(signals, &state, &drain, &stop).await;
    if let Some(working) = working
        && let Err(error) = working.await
    {
        tracing::error!(%error, "the worker ended unexpectedly");
    }
    // workers elsewhere may have jobs that callers wait for here
    state.answered().await;
    state.close();
    closing.cancel();
    // connections that nobody reads from are let go
    if let Some(serving) = serving
        && tokio::time::timeout(LAST_ANSWERS, serving).await.is_err()
    {
        tracing::info!("open connections are closed");
    }
    if tokio::time::timeout(LAST_ANSWERS, state.settled()).await.is_err() {
        tracing::warn!("some jobs that nobody waits for could not be cancelled; they run at the next start");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Listens, where this process is to be reached at all, and says where.
async fn start_listening(
    settings: &Settings,
    state: AppState,
    closing: &CancellationToken,
) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(address) = settings.listen else {
        print::worker();
        return Ok(None);
    };
    let https = Https::prepare(settings, address)?;
    let limits = descriptors::enough_for(settings.connections);
    let unusable = |e: std::io::Error| Failure::System(format!("cannot listen on {address}: {e}"));
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    print::addresses(listener.local_addr().map_err(unusable)?, https.as_ref(), settings);
    let router = match settings.role {
        Role::All | Role::Gateway => {
            tokio::spawn(scumble_server::end_overdue(state.clone(), closing.clone()));
            scumble_server::router(state)
        }
        Role::Worker => scumble_server::probe_router(state),
    };
    let how = Listening {
        tls: https.map(|https| https.config),
        connect: settings.connect,
        hosts: settings.server.hosts.clone(),
        limits,
    };
    Ok(Some(tokio::spawn(listen::serve(listener, router, how, closing.clone()))))
}

/// How long results are kept, as a sentence's part.
pub(crate) fn kept(config: &scumble_worker::Config) -> String {
    let Some(kept_ms) = config.retention.kept_ms else { return "results are kept until somebody deletes them".into() };
    let older =
        if config.keeps_older { ", those that older versions accepted until somebody deletes them" } else { "" };
    format!("results are kept for {}{older}", super::time::span(kept_ms))
}

/// Without keys only this machine may call, unless the owner says otherwise.
async fn refuse_strangers(settings: &Settings, store: &dyn Store) -> Result<(), Failure> {
    let Some(address) = settings.listen else { return Ok(()) };
    let reachable = !address.ip().is_loopback() && settings.role != Role::Worker;
    if !reachable || settings.open || store.keys_required().await? {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "others can reach {address}, and no key was made. Make one with `scumble keys create --data-dir {}`, or let \
         everybody call with --open",
        settings.data_dir.display()
    )))
}

/// The first SIGTERM or Ctrl-C drains: jobs at hand end, waiting ones stay queued on disk; those that a direct caller waits
/// for are refused and do not run. The second stops: jobs at hand go back to the queue.
async fn drain_on_signal(mut signals: Signals, state: &AppState, drain: &CancellationToken, stop: &CancellationToken) {
    signals.next().await;
    tracing::info!("draining: the jobs at hand are finished; a second signal gives them back to the queue");
    state.drain();
    drain.cancel();
    let (state, stop) = (state.clone(), stop.clone());
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: the jobs at hand go back to the queue");
        // before their workers let go of them, so that nobody's jobs do not come back
        state.close();
        stop.cancel();
    });
}

/// SIGTERM and SIGINT.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}
