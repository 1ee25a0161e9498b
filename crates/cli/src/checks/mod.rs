//! What `serve` needs, looked at in one place: `doctor` prints what is found, `serve` does not start unless all of it
//! can be used. So the two cannot disagree.
//!
//! What a check opens is kept, so that `serve` goes on with the very database, files and address that were tried.

pub(crate) mod absent;
mod adapters;
mod clock;
mod devices;
mod keys;
mod makers;
mod models;
mod places;
mod safety;
mod weights;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use scumble_files::Files;
use scumble_meters::Meters;
use scumble_store::{Clock, KeyRecord, Store, SystemClock};
use scumble_worker::Models;
use tokio::net::TcpListener;

use crate::args::Role;
use crate::failure::Failure;
use crate::settings::{Database, Settings, Tls, find_store, open_store};

pub(crate) use weights::unusable;

/// What a check found.
#[derive(Debug)]
pub(crate) enum Finding {
    /// A fact.
    Well(String),
    /// Something that the owner should know and may have wanted.
    Odd(String),
    /// What is wrong and what to do; with the exit code of the command.
    Fails(Failure),
    /// Not looked at, since something that it needs has failed.
    Skipped(&'static str),
}

/// All that is wrong with one thing, where one line does not hold it.
#[derive(Debug)]
pub(crate) struct Details {
    /// Such as an endpoint.
    pub(crate) of: String,
    /// One for each.
    pub(crate) lines: Vec<String>,
}

/// Everything that was found, and what was opened on the way.
#[derive(Default)]
pub(crate) struct Examined {
    /// What was looked at, and what was found, in the order in which people should read it.
    pub(crate) findings: Vec<(&'static str, Finding)>,
    /// What does not fit into a line of those.
    pub(crate) details: Vec<Details>,
    /// The database, open.
    pub(crate) store: Option<Arc<dyn Store>>,
    /// The place for files, open.
    pub(crate) files: Option<Files>,
    /// What answers the endpoints, where this process runs jobs.
    pub(crate) models: Option<Arc<Models>>,
    /// The address, bound, where this process is to be reached at all; with its port, which the system may have chosen.
    pub(crate) listener: Option<(TcpListener, SocketAddr)>,
    /// The same for the metrics, where they have one of their own.
    pub(crate) metrics: Option<(TcpListener, SocketAddr)>,
}

/// For what everything is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The server starts: what is not there is made.
    Start,
    /// Somebody wants to know: what is not there stays so.
    Look,
}

/// Looks at all that `serve` needs with these settings.
pub(crate) async fn examine(settings: &Settings, purpose: Purpose) -> Examined {
    let mut examined = Examined::default();
    let data_dir = match purpose {
        Purpose::Look if !settings.data_dir.exists() => {
            absent::folder("the data dir", &settings.data_dir, "--data-dir")
        }
        _ => places::data_dir(settings),
    };
    let usable = !matches!(data_dir, Finding::Fails(_));
    examined.add("data dir", data_dir);
    // a second and third message about the same folder would hide the first
    let in_data_dir = |path: &Path| path.starts_with(&settings.data_dir);
    match &settings.database {
        Database::Sqlite(path) if !usable && in_data_dir(path) => {
            examined.add("database", Finding::Skipped("it is in the data dir"));
        }
        database => match opened(database, purpose, &settings.meters).await {
            Ok(Some(store)) => examined.database(settings, store).await,
            Ok(None) => examined.no_database(settings, database),
            Err(failure) => examined.add("database", Finding::Fails(failure)),
        },
    }
    if !usable && in_data_dir(Path::new(&settings.files)) {
        examined.add("files", Finding::Skipped("they are in the data dir"));
    } else {
        examined.files_in(&settings.files, purpose).await;
    }
    places::space(settings).into_iter().for_each(|found| examined.add("space", found));
    if let Some(address) = settings.listen {
        examined.listener = examined.address("address", address, "--listen").await;
    }
    if let Some(address) = settings.metrics_listen {
        examined.metrics = examined.address("metrics", address, "--metrics-listen").await;
    }
    if let Some(tls) = &settings.tls {
        examined.add("https", https(tls));
    }
    // a gateway runs no models, and may share its settings with workers that do
    if settings.role != Role::Gateway {
        examined.add("devices", devices::check(purpose));
        match Models::new(&settings.models) {
            Ok(models) => {
                let (finding, details) = weights::check(&settings.models, purpose);
                examined.add("weights", finding);
                weights::lost().into_iter().for_each(|odd| examined.add("weights", odd));
                weights::swapped(&settings.models).into_iter().for_each(|odd| examined.add("weights", odd));
                examined.details = details;
                examined.add("models", models::check(&settings.models, &models));
                examined.models = Some(Arc::new(models));
            }
            Err(problem) => {
                examined.add("weights", Finding::Skipped("what answers which endpoint has to be mended first"));
                examined.add("models", Finding::Fails(Failure::Usage(problem)));
            }
        }
        examined.add("adapters", adapters::check(settings));
        examined.add("makers", makers::check(settings));
        examined.add("safety", safety::check(&settings.models));
    }
    examined
}

impl Examined {
    fn add(&mut self, what: &'static str, finding: Finding) {
        self.findings.push((what, finding));
    }

    /// Binds an address.
    async fn address(
        &mut self,
        what: &'static str,
        address: SocketAddr,
        flag: &str,
    ) -> Option<(TcpListener, SocketAddr)> {
        match places::listen(address, flag).await {
            Ok(bound) => {
                let free = match address.port() {
                    0 => format!("{} has a free port", address.ip()),
                    _ => format!("{address} is free"),
                };
                self.add(what, Finding::Well(free));
                Some(bound)
            }
            Err(failure) => {
                self.add(what, Finding::Fails(failure));
                None
            }
        }
    }

    async fn database(&mut self, settings: &Settings, store: Arc<dyn Store>) {
        self.add("database", places::database(settings, &*store).await);
        match store.list_keys().await {
            Ok(made) => self.keys(settings, &made),
            Err(error) => self.add("keys", Finding::Fails(error.into())),
        }
        self.add("clock", clock::check(&*store).await);
        self.store = Some(store);
    }

    fn keys(&mut self, settings: &Settings, made: &[KeyRecord]) {
        self.add("keys", keys::check(settings, made));
        keys::of_metrics(settings, made).into_iter().for_each(|found| self.add("metrics", found));
    }

    /// Where there is no database there are no keys and no jobs.
    fn no_database(&mut self, settings: &Settings, database: &Database) {
        self.add(
            "database",
            match database {
                Database::Sqlite(path) => absent::file("the database", path, "--database"),
                Database::Postgres(_) => Finding::Odd(format!(
                    "{database} holds nothing of this program yet; `scumble serve` makes its tables"
                )),
            },
        );
        self.keys(settings, &[]);
        self.add("clock", clock::now());
    }

    async fn files_in(&mut self, url: &str, purpose: Purpose) {
        if purpose == Purpose::Look
            && let Some(found) = places::looked_at(url)
        {
            return self.add("files", found);
        }
        match places::files(url).await {
            Ok(files) => {
                self.files = Some(files);
                self.add("files", Finding::Well(format!("{url} can be written and read")));
            }
            Err(failure) => self.add("files", Finding::Fails(failure)),
        }
    }

    /// All that fails, taken out.
    pub(crate) fn failures(&mut self) -> Vec<Failure> {
        let failing = self.findings.extract_if(.., |(_, found)| matches!(found, Finding::Fails(_)));
        failing.filter_map(|(_, found)| if let Finding::Fails(why) = found { Some(why) } else { None }).collect()
    }

    /// Closes what was opened, so that nothing is left half up.
    pub(crate) async fn close(self) {
        drop((self.listener, self.metrics));
        if let Some(store) = self.store {
            store.close().await;
        }
    }
}

impl From<Result<String, Failure>> for Finding {
    fn from(found: Result<String, Failure>) -> Self {
        found.map_or_else(Self::Fails, Self::Well)
    }
}

/// The database, made where it is missing and the purpose is to start.
async fn opened(database: &Database, purpose: Purpose, meters: &Meters) -> Result<Option<Arc<dyn Store>>, Failure> {
    match purpose {
        Purpose::Start => open_store(database, meters).await.map(Some),
        Purpose::Look => find_store(database).await,
    }
}

fn https(tls: &Tls) -> Finding {
    match tls {
        Tls::Files { cert, key } => scumble_server::tls::check_files(cert, key, SystemClock.now_ms())
            .map(|()| format!("{} and its key can be used", cert.display()))
            .map_err(|e| Failure::System(format!("[server] tls: {e}")))
            .into(),
        Tls::Local => Finding::Well("a certificate authority of this machine is used".into()),
    }
}
