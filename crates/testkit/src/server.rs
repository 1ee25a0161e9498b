//! A whole server in the test's process: real router, real database, real files, a runner of the test's choice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use scumble_files::Files;
use scumble_server::listen::{self, ConnectionLimits, Listening};
use scumble_server::{AppState, new_key};
use scumble_store::{Clock, Options, SqliteStore, Store, SystemClock};
use scumble_worker::runner::Runner;
use scumble_worker::{Models, ModelsConfig, Worker};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::runner::FakeRunner;

/// The endpoint that tests call.
pub const ENDPOINT: &str = "scumble/starter";

/// Longer than anything here takes on a busy machine: a test ends with an error rather than never.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server; ends with the test.
pub struct TestServer {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Its database.
    pub store: Arc<dyn Store>,
    client: Client,
    state: AppState,
    drain: CancellationToken,
    stop: CancellationToken,
    closing: CancellationToken,
    working: JoinHandle<()>,
    serving: JoinHandle<()>,
    folder: Folder,
}

/// What a test wants otherwise than usual.
pub struct Setup {
    /// A data dir that may have a history.
    pub folder: Folder,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The gateway's settings.
    pub server: scumble_server::Config,
    /// The worker's settings.
    pub worker: scumble_worker::Config,
    /// What callers may take from the listener.
    pub limits: ConnectionLimits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            folder: Folder::new(),
            clock: Arc::new(SystemClock),
            server: scumble_server::Config { body_bytes: 64 * 1024, ..Default::default() },
            // a lease of eight seconds outlasts whatever else a machine that runs tests has to do
            worker: scumble_worker::Config { heartbeat: Duration::from_secs(2), ..Default::default() },
            limits: ConnectionLimits::default(),
        }
    }
}

/// A data dir that may be handed from one server to the next.
#[derive(Clone)]
pub struct Folder(Arc<tempfile::TempDir>);

impl Folder {
    /// A new, empty one.
    ///
    /// # Panics
    /// Where the system gives no temporary folder.
    #[expect(clippy::expect_used, reason = "a test without a folder cannot go on")]
    pub fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().expect("a temporary folder")))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl TestServer {
    /// A server on a new data dir.
    pub async fn new(runner: &FakeRunner) -> Self {
        Self::on(Folder::new(), runner).await
    }

    /// A server on a data dir that may have a history.
    pub async fn on(folder: Folder, runner: &FakeRunner) -> Self {
        Self::with(Setup { folder, ..Setup::default() }, runner).await
    }

    /// A server to the test's taste.
    pub async fn with(setup: Setup, runner: &FakeRunner) -> Self {
        Self::running(setup, Arc::new(runner.clone())).await
    }

    /// A server whose pictures anything may make.
    pub async fn running(setup: Setup, runner: Arc<dyn Runner>) -> Self {
        Self::answering(setup, Models::with(HashMap::from([(ENDPOINT, runner)]))).await
    }

    /// A server whose cards stand in for every model.
    ///
    /// # Panics
    /// Where database, files or a port cannot be had.
    #[expect(clippy::expect_used, reason = "a test without a server cannot go on")]
    pub async fn standing_in(setup: Setup) -> Self {
        let config = ModelsConfig { stand_in: Some(Duration::ZERO), ..ModelsConfig::default() };
        Self::answering(setup, Models::new(&config).expect("models that need nothing")).await
    }

    /// A server with an answer for every endpoint.
    ///
    /// # Panics
    /// Where database, files or a port cannot be had.
    #[expect(clippy::expect_used, reason = "a test without a server cannot go on")]
    pub async fn answering(setup: Setup, models: Models) -> Self {
        let Setup { folder, clock, server, worker, limits } = setup;
        let meters = server.meters.clone();
        let worker = scumble_worker::Config { meters: meters.clone(), ..worker };
        let options = Options { clock: clock.clone(), meters: meters.clone(), ..Options::default() };
        let store = SqliteStore::open(&folder.path().join("scumble.db"), options).await.expect("a database");
        let store: Arc<dyn Store> = Arc::new(store);
        let files = folder.path().join("files");
        let files = Files::open(files.to_str().expect("a UTF-8 path")).expect("a folder for files");
        let files = scumble_worker::with_fresh(files, store.clone());
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let models = Arc::new(models);
        let worker =
            Worker { store: store.clone(), files: files.clone(), models, clock: clock.clone(), config: worker };
        let working = tokio::spawn(worker.run(drain.clone(), stop.clone()));
        let base_path = server.base_path.clone();
        let state = AppState::new(store.clone(), files, clock, server);
        tokio::spawn(scumble_server::end_overdue(state.clone(), drain.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = scumble_server::router(state.clone());
        let how = Listening { limits, base_path, meters, ..Listening::default() };
        let closing = CancellationToken::new();
        let serving = tokio::spawn(listen::serve(listener, router, how, closing.clone()));
        let client = Client::builder().timeout(PATIENCE).build().expect("a client");
        Self { url, store, client, state, drain, stop, closing, working, serving, folder }
    }

    /// The first signal to stop: nothing new for callers who wait, what is at work goes on.
    pub fn drains(&self) {
        self.state.drain();
        self.drain.cancel();
    }

    /// Stops as an orderly process does that was told once: what is at work has ended, everybody is answered. Gives the data
    /// dir to the next.
    pub async fn drained(self) -> Folder {
        self.drains();
        let _ = self.working.await;
        self.state.answered().await;
        self.state.close();
        self.closing.cancel();
        let _ = tokio::time::timeout(PATIENCE, self.serving).await;
        let _ = tokio::time::timeout(PATIENCE, self.state.settled()).await;
        self.store.close().await;
        self.folder
    }

    /// Its data dir.
    pub fn folder(&self) -> PathBuf {
        self.folder.path()
    }

    /// A request to a path of this server.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Submits an input to the queue; the answer's JSON.
    ///
    /// # Panics
    /// Where the submit is refused.
    #[expect(clippy::expect_used, reason = "a test whose submit fails cannot go on")]
    pub async fn submit(&self, input: &Value) -> Value {
        let sent = self.request(Method::POST, &format!("/queue/{ENDPOINT}")).json(input).send().await;
        let answer = sent.expect("an answer");
        assert_eq!(answer.status(), 200);
        answer.json().await.expect("JSON")
    }

    /// Asks for a request's status until it has ended; the last answer's JSON.
    ///
    /// # Panics
    /// Where it does not end within half a minute.
    #[expect(clippy::expect_used, reason = "a test without a status cannot go on")]
    pub async fn ended(&self, submitted: &Value) -> Value {
        let url = format!("{}?logs=1", submitted["status_url"].as_str().expect("a status_url"));
        let ended = async {
            loop {
                let status: Value = self.client.get(&url).send().await.expect("an answer").json().await.expect("JSON");
                if status["status"] == "COMPLETED" {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the request ends")
    }

    /// Makes a key; from now on callers need one.
    ///
    /// # Panics
    /// Where the database refuses.
    #[expect(clippy::expect_used, reason = "a test without a key cannot go on")]
    pub async fn key(&self) -> String {
        let (id, secret, hash) = new_key();
        self.store.create_key(&id, "test", hash).await.expect("a key");
        secret.reveal().to_owned()
    }

    /// Stops as an orderly process would: jobs at hand go back to the queue. Gives the data dir to the next.
    pub async fn stopped(self) -> Folder {
        self.state.close();
        self.drain.cancel();
        self.stop.cancel();
        let _ = self.working.await;
        let _ = tokio::time::timeout(PATIENCE, self.state.settled()).await;
        self.serving.abort();
        self.store.close().await;
        self.folder
    }

    /// Vanishes as a killed process would: nothing is finished, nothing given back.
    pub fn killed(self) -> Folder {
        self.working.abort();
        self.serving.abort();
        self.folder
    }
}
