//! `scumble serve`: gateway and worker in one process.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use scumble_files::Files;
use scumble_server::AppState;
use scumble_store::{Store, SystemClock};
use scumble_worker::{Models, Worker};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::Serve;
use crate::failure::Failure;
use crate::settings::{Settings, open_store, runtime};

/// After the last job of a drain has ended, its caller gets this long to fetch the answer.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Serves until told to stop.
pub(crate) fn serve(args: &Serve) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let settings = Settings::read(args)?;
    runtime()?.block_on(serve_settings(settings))
}

async fn serve_settings(settings: Settings) -> Result<(), Failure> {
    let store = open_store(&settings.data_dir).await?;
    refuse_strangers(&settings, &*store).await?;
    let files = open_files(&settings)?;
    let models = Arc::new(Models::new(&settings.models).map_err(Failure::Usage)?);
    let clock = Arc::new(SystemClock);
    let listener = listen(settings.listen).await?;
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let worker =
        Worker { store: store.clone(), files: files.clone(), models, clock: clock.clone(), config: settings.worker };
    let working = tokio::spawn(worker.run(drain.clone(), stop.clone()));
    let state = AppState::new(store.clone(), files, clock, settings.server);
    let closing = CancellationToken::new();
    let serving = tokio::spawn(
        axum::serve(listener, scumble_server::router(state))
            .with_graceful_shutdown(closing.clone().cancelled_owned())
            .into_future(),
    );
    drain_on_signal(&drain, &stop).await?;
    if let Err(error) = working.await {
        tracing::error!(%error, "the worker ended unexpectedly");
    }
    closing.cancel();
    // connections that wait for jobs of the next start are let go
    if tokio::time::timeout(LAST_ANSWERS, serving).await.is_err() {
        tracing::info!("open connections are closed");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Without keys only this machine may call, unless the owner says otherwise.
async fn refuse_strangers(settings: &Settings, store: &dyn Store) -> Result<(), Failure> {
    if settings.listen.ip().is_loopback() || settings.open || store.keys_required().await? {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "others can reach {}, and no key was made. Make one with `scumble keys create --data-dir {}`, or let everybody \
         call with --open",
        settings.listen,
        settings.data_dir.display()
    )))
}

fn open_files(settings: &Settings) -> Result<Files, Failure> {
    let folder = settings.data_dir.join("files");
    let name = folder.to_str().ok_or_else(|| Failure::about("use", &folder, "its name is no UTF-8"))?;
    Files::open(name).map_err(|e| Failure::System(e.to_string()))
}

#[expect(clippy::print_stdout, reason = "scripts read the address, which has a real port even where 0 was asked for")]
async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let unusable = |e: std::io::Error| Failure::System(format!("cannot listen on {address}: {e}"));
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    println!("Scumble listens on http://{}", listener.local_addr().map_err(unusable)?);
    Ok(listener)
}

/// The first SIGTERM or Ctrl-C drains: jobs at hand end, waiting ones stay queued on disk. The second stops: jobs at
/// hand go back to the queue.
async fn drain_on_signal(drain: &CancellationToken, stop: &CancellationToken) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|e| Failure::System(format!("cannot listen for signals: {e}")))?;
    signals.next().await;
    tracing::info!("draining: the jobs at hand are finished; a second signal gives them back to the queue");
    drain.cancel();
    let stop = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: the jobs at hand go back to the queue");
        stop.cancel();
    });
    Ok(())
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
