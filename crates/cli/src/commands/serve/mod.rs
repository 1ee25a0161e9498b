//! `scumble serve`: gateway and worker in one process, or either of them.

mod descriptors;
mod https;
mod print;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use scumble_files::Files;
use scumble_server::AppState;
use scumble_server::listen::{self, ConnectionLimits, Listening};
use scumble_store::{Store, SystemClock};
use scumble_worker::{Models, Worker};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::{Role, Serve};
use crate::checks::{self, Examined, Finding, Purpose};
use crate::failure::Failure;
use crate::log;
use crate::private;
use crate::settings::{Settings, runtime};
use crate::signals::Signals;
use https::Https;

/// After the last job of a drain has ended, its caller gets this long to fetch the answer.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Serves until told to stop.
pub(crate) fn serve(args: &Serve) -> Result<(), Failure> {
    let traces = log::begin(args)?;
    let settings = Settings::read(args)?;
    private::begin(&settings);
    private::mend(&settings);
    let served = runtime()?.block_on(serve_settings(settings));
    // however it went, what was done is told
    if let Some(traces) = traces {
        traces.end();
    }
    served
}

async fn serve_settings(settings: Settings) -> Result<(), Failure> {
    // from the start: who is told to stop while starting stops in the same order
    let signals = Signals::new()?;
    let Opened { store, files, models, listener, https, metrics } = open(&settings).await?;
    settings.meters.build.with_label_values(&[env!("CARGO_PKG_VERSION"), settings.role.name()]).set(1.0);
    if settings.role != Role::All && !settings.database.is_shared() {
        tracing::info!("a gateway and its workers meet in {}: all on this machine", settings.database);
    }
    let files = scumble_worker::with_fresh(files, store.clone());
    let clock = Arc::new(SystemClock);
    let state = AppState::new(store.clone(), files.clone(), clock.clone(), settings.server.clone());
    let closing = CancellationToken::new();
    let serving = start_listening(&settings, state.clone(), listener, https, &closing);
    let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
    let metrics = metrics.map(|bound| show_metrics(bound, &state, &closing));
    let working = models.map(|models| {
        let worker = Worker { store: store.clone(), files, models, clock, config: settings.worker.clone() };
        tokio::spawn(worker.run(drain.clone(), stop.clone()))
    });
    match kept(&settings.worker, &*store).await {
        Ok(told) => tracing::info!("{told}"),
        Err(error) => tracing::warn!(%error, "whether there are results of older versions is not known"),
    }
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
    let ended = async {
        for serving in serving.into_iter().chain(metrics) {
            let _ = serving.await;
        }
    };
    if tokio::time::timeout(LAST_ANSWERS, ended).await.is_err() {
        tracing::info!("open connections are closed");
    }
    if tokio::time::timeout(LAST_ANSWERS, state.settled()).await.is_err() {
        tracing::warn!("some jobs that nobody waits for could not be cancelled; they run at the next start");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// All that has to be there before anything starts.
struct Opened {
    store: Arc<dyn Store>,
    files: Files,
    /// Where this process runs jobs.
    models: Option<Arc<Models>>,
    listener: Option<(TcpListener, SocketAddr)>,
    https: Option<Https>,
    /// The address for metrics.
    metrics: Option<(TcpListener, SocketAddr)>,
}

/// Opens it, or closes what was opened and says all that is wrong: nothing is half up.
async fn open(settings: &Settings) -> Result<Opened, Failure> {
    let mut examined = checks::examine(settings, Purpose::Start).await;
    let mut failures = examined.failures();
    let mut https = None;
    // makes a certificate authority where there is none: not for a server that does not start
    if failures.is_empty()
        && let Some(address) = settings.listen
    {
        match Https::prepare(settings, address) {
            Ok(prepared) => https = prepared,
            Err(failure) => failures.push(failure),
        }
    }
    for (what, finding) in &examined.findings {
        if let Finding::Odd(fact) = finding {
            tracing::warn!("{what}: {fact}");
        }
    }
    match (Failure::of(failures), examined) {
        (None, Examined { store: Some(store), files: Some(files), models, listener, metrics, .. }) => {
            Ok(Opened { store, files, models, listener, https, metrics })
        }
        (failure, examined) => {
            examined.close().await;
            Err(failure.unwrap_or_else(|| Failure::System("the database or the files could not be opened".to_owned())))
        }
    }
}

/// Says where it listens, where this process is to be reached at all, and answers there.
fn start_listening(
    settings: &Settings,
    state: AppState,
    listener: Option<(TcpListener, SocketAddr)>,
    https: Option<Https>,
    closing: &CancellationToken,
) -> Option<JoinHandle<()>> {
    let Some((listener, address)) = listener else {
        print::worker();
        return None;
    };
    let limits = descriptors::enough_for(settings.connections);
    print::addresses(address, https.as_ref(), settings);
    let router = match settings.role {
        Role::All | Role::Gateway => {
            tokio::spawn(scumble_server::end_overdue(state.clone(), closing.clone()));
            scumble_server::router(state)
        }
        Role::Worker => scumble_server::probe_router(&state),
    };
    let how = Listening {
        tls: https.map(|https| https.config),
        connect: settings.connect,
        hosts: settings.server.hosts.clone(),
        base_path: settings.server.base_path.clone(),
        limits,
        meters: settings.meters.clone(),
    };
    Some(tokio::spawn(listen::serve(listener, router, how, closing.clone())))
}

/// Connections at once for metrics: one or two that scrape, and some for people.
const METRICS_CONNECTIONS: usize = 64;

/// Answers for metrics on their own address, until the rest has its answers.
fn show_metrics(
    (listener, address): (TcpListener, SocketAddr),
    state: &AppState,
    closing: &CancellationToken,
) -> JoinHandle<()> {
    print::metrics(address);
    let how = Listening { limits: ConnectionLimits::of(METRICS_CONNECTIONS), ..Listening::default() };
    tokio::spawn(listen::serve(listener, scumble_server::metrics_router(state), how, closing.clone()))
}

/// How long results are kept, as a sentence's part.
pub(crate) async fn kept(config: &scumble_worker::Config, store: &dyn Store) -> scumble_store::Result<String> {
    let older = config.keeps_older && store.has_older().await?;
    Ok(kept_for(config, older))
}

/// The same, where it is known whether there are results from before they had an end.
pub(crate) fn kept_for(config: &scumble_worker::Config, older: bool) -> String {
    let Some(kept_ms) = config.retention.kept_ms else { return "results are kept until somebody deletes them".into() };
    let time = super::time::span(kept_ms);
    let older = if older { "; those that older versions accepted, until somebody deletes them" } else { "" };
    match config.keeps_older {
        true => format!("results are kept for {time} (another time: [retention] results_s){older}"),
        false => format!("results are kept for {time}, as [retention] results_s says"),
    }
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
