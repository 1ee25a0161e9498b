//! Connecting to a PostgreSQL server.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use scumble_meters::Meters;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row};

use super::PostgresStore;
use super::announce::Announcer;
use super::errors::retried;
use super::migrate::migrate;
use crate::clock::Setback;
use crate::keyed::Keyed;
use crate::stuck::Stuck;
use crate::{Clock, Error, Result, SystemClock};

/// How a PostgreSQL database is opened.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Tells the time of everything that is recorded.
    pub clock: Arc<dyn Clock>,
    /// Connections at most, beside the one that listens; at least one.
    pub connections: u32,
    /// How long to wait for a connection, and for what somebody else has locked.
    pub busy_timeout: Duration,
    /// Whether it has to be there: where the schema holds nothing of this program, opening it is [`Error::Absent`] and
    /// makes nothing.
    pub existing: bool,
    /// Where writes are measured.
    pub meters: Meters,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let connections = u32::try_from(2 * cores + 4).unwrap_or(u32::MAX).max(8);
        Self {
            clock: Arc::new(SystemClock),
            connections,
            busy_timeout: Duration::from_secs(10),
            existing: false,
            meters: Meters::new(),
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clock: _, connections, busy_timeout, existing, meters: _ } = self;
        write!(f, "PostgresOptions {{ connections: {connections}, busy_timeout: {busy_timeout:?}, ")?;
        write!(f, "existing: {existing} }}")
    }
}

impl PostgresStore {
    /// Opens the database at `url` and brings it to the version this program knows. Everything is in the first schema
    /// of the connection's `search_path` (`?options=-csearch_path%3Dscumble`), which has to be there.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] when it has to be there and is not, [`Error::Url`] when the URL makes no sense, [`Error::NoAnswer`] when nobody answers there, [`Error::Refused`]
    /// when the server does not let this program in or has no such database, [`Error::NewerSchema`] when a newer
    /// program has written it; [`Error::ReadOnly`], [`Error::Full`] and [`Error::Busy`] when bringing it up to date
    /// fails. None of them tells the URL's password.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self> {
        let PostgresOptions { clock, connections, busy_timeout, existing, meters } = options;
        let server = parse(url)?.disable_statement_logging();
        let now_ms = clock.now_ms();
        let channel = retried!(prepare(&server, busy_timeout, now_ms, existing))??;
        let pool = pool(server.clone(), connections.max(1), busy_timeout);
        let listening = pool_of_one(server, busy_timeout);
        let announcer = Announcer::start(pool.clone(), listening, channel).await?;
        Ok(Self {
            pool,
            clock,
            announcer,
            keyed: Keyed::default(),
            setback: Setback::default(),
            stuck: Stuck::default(),
            meter: meters.store.clone(),
        })
    }
}

/// Parameters that a URL may have. Others are refused, because what is ignored was meant to matter, and by name alone,
/// because their value may be a misspelt password's.
const PARAMETERS: [&str; 15] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

fn parse(url: &str) -> Result<PgConnectOptions> {
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
        return Err(Error::Url("it begins neither with postgres:// nor with postgresql://".to_owned()));
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let names = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(pair));
    for name in names {
        if !PARAMETERS.contains(&name) && !name.starts_with("options[") {
            return Err(Error::Url(format!("its parameter {name:?} means nothing here")));
        }
    }
    // What is wrong is told by kinds of things ("invalid port number"), never by a part of the URL.
    let options = PgConnectOptions::from_str(url).map_err(|error| match error {
        sqlx::Error::Configuration(reason) => Error::Url(reason.to_string()),
        other => Error::from(other),
    })?;
    // that a table is there already is nothing to tell anybody
    Ok(options.options([("client_min_messages", "warning")]))
}

/// Brings the schema up to date, or only looks whether it is there where it is to be `existing`. Returns the channel that its changes are announced on, one for each schema; channels
/// of different databases do not meet. The outer error is of the connection.
async fn prepare(
    server: &PgConnectOptions,
    busy_timeout: Duration,
    now_ms: i64,
    existing: bool,
) -> sqlx::Result<Result<String>> {
    let mut conn = match tokio::time::timeout(busy_timeout, server.connect()).await {
        Ok(connected) => connected?,
        Err(_) => return Err(sqlx::Error::PoolTimedOut),
    };
    let schema = sqlx::query("SELECT md5(current_schema()) AS digest").fetch_one(&mut conn).await?;
    let Some(digest) = schema.try_get::<Option<String>, _>("digest")? else {
        return Ok(Err(Error::Url("the schema of its search_path is not there; CREATE SCHEMA makes it".to_owned())));
    };
    if existing && !is_there(&mut conn).await? {
        conn.close().await?;
        return Ok(Err(Error::Absent));
    }
    let migrated = migrate(&mut conn, now_ms).await;
    conn.close().await?;
    Ok(migrated.map(|()| format!("scumble_{digest}")))
}

/// Whether the schema holds tables of this program.
async fn is_there(conn: &mut PgConnection) -> sqlx::Result<bool> {
    let table = "SELECT to_regclass(quote_ident(current_schema()) || '.schema_version') IS NOT NULL AS there";
    sqlx::query(table).fetch_one(conn).await?.try_get("there")
}

fn pool(server: PgConnectOptions, connections: u32, busy_timeout: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(busy_timeout)
        // A round trip before every statement. What the server has cut in the meantime is tried again instead, on
        // another connection; only those that lay idle for longer are asked.
        .test_before_acquire(false)
        .before_acquire(|conn, meta| Box::pin(async move { Ok(meta.idle_for < RESTED || conn.ping().await.is_ok()) }))
        .after_connect(move |conn, _| Box::pin(settle(conn, busy_timeout)))
        .connect_lazy_with(server)
}

/// How long a connection may lie idle before it is asked whether it still works.
const RESTED: Duration = Duration::from_secs(1);

/// The pool of the connection that listens: lasts for as long as the server lets it.
fn pool_of_one(server: PgConnectOptions, busy_timeout: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(busy_timeout)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(server)
}

/// What this program relies on, whatever the server's defaults are.
async fn settle(conn: &mut PgConnection, busy_timeout: Duration) -> sqlx::Result<()> {
    sqlx::query(include_str!("queries/settle.sql")).bind(busy_timeout.as_millis().to_string()).execute(conn).await?;
    Ok(())
}
