//! Where the database is, and opening it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scumble_meters::Meters;
use scumble_store::{Options, PostgresOptions, PostgresStore, SqliteStore, Store, SystemClock};

use crate::failure::Failure;

/// A database, as it was named.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file.
    Sqlite(PathBuf),
    /// A server, by its URL, which may hold a password.
    Postgres(String),
}

impl Database {
    /// Reads `sqlite:PATH` or `postgres://…`. The message of a refusal never holds what was typed: it may be a password.
    pub(crate) fn parse(url: &str) -> Result<Self, Failure> {
        let refused = |why: &str| {
            Failure::Usage(format!(
                "the database's URL {why}; expected sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME"
            ))
        };
        match url.split_once(':') {
            Some(("sqlite", path)) => {
                // sqlite:///a/b is the absolute path /a/b, as in other programs
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() || path.starts_with(":memory:") {
                    return Err(refused("does not name a file"));
                }
                if path.contains('?') {
                    return Err(refused("has parameters, but sqlite takes none"));
                }
                Ok(Self::Sqlite(path.into()))
            }
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(url.to_owned())),
            _ => Err(refused("begins with an unknown word")),
        }
    }

    /// Whether its URL holds a password.
    pub(crate) fn has_password(&self) -> bool {
        let Self::Postgres(url) = self else { return false };
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let user = place.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        user || parameters.split('&').any(|parameter| parameter.starts_with("password="))
    }

    /// Whether processes on other machines can reach it.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// Without user and password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
                // parameters may hold a password too
                write!(f, "postgres://{}", place.split('?').next().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

/// Opens a database; a file and its folder are made if they are not there.
pub(crate) async fn open_store(database: &Database, meters: &Meters) -> Result<Arc<dyn Store>, Failure> {
    if let Database::Sqlite(path) = database {
        crate::private::make_folder(path.parent().unwrap_or(Path::new("")))?;
    }
    Ok(open(database, false, meters).await?)
}

/// Opens a database that has to be there: who lists or changes what is in it would be told of an empty one otherwise.
pub(crate) async fn open_existing(database: &Database) -> Result<Arc<dyn Store>, Failure> {
    find_store(database).await?.ok_or_else(|| {
        Failure::System(format!(
            "there is no database {database}; `scumble serve` makes it, and so does `scumble keys create`. Name another \
             place with --data-dir DIR or --database URL"
        ))
    })
}

/// Opens a database if it is there, and makes nothing.
pub(crate) async fn find_store(database: &Database) -> Result<Option<Arc<dyn Store>>, Failure> {
    match open(database, true, &Meters::new()).await {
        Ok(store) => Ok(Some(store)),
        Err(scumble_store::Error::Absent) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn open(database: &Database, existing: bool, meters: &Meters) -> scumble_store::Result<Arc<dyn Store>> {
    let meters = meters.clone();
    match database {
        Database::Sqlite(path) => {
            let options = Options { clock: Arc::new(SystemClock), existing, meters, ..Options::default() };
            Ok(Arc::new(SqliteStore::open(path, options).await?))
        }
        Database::Postgres(url) => {
            let options =
                PostgresOptions { clock: Arc::new(SystemClock), existing, meters, ..PostgresOptions::default() };
            Ok(Arc::new(PostgresStore::open(url, options).await?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_named_by_url_and_passwords_are_not_shown() {
        let parse = |url: &str| Database::parse(url).map_err(|f| format!("{f:?}"));
        assert_eq!(parse("sqlite:a/b.db"), Ok(Database::Sqlite("a/b.db".into())));
        assert_eq!(parse("sqlite:///a/b.db"), Ok(Database::Sqlite("/a/b.db".into())));
        let url = "postgresql://me:s3cret@db.example:5432/images?password=s3cret&sslmode=require";
        let database = parse(url).expect("a database");
        assert_eq!(database.to_string(), "postgres://db.example:5432/images");
        assert!(!format!("{database:?}").contains("s3cret"));
        let open = |url: &str| parse(url).map(|database| database.has_password());
        assert!(database.has_password());
        assert_eq!(open("postgres://me:s3cret@h/d"), Ok(true));
        assert_eq!(open("postgres://h/d?sslmode=require&password=s3cret"), Ok(true));
        for without in ["postgres://me@h:5432/d", "postgres://[::1]:5432/d?sslmode=require", "sqlite:a:b@c.db"] {
            assert_eq!(open(without), Ok(false), "{without}");
        }
        for bad in ["", "s3cret", "mysql://me:s3cret@h/d", "sqlite:", "sqlite::memory:", "postgres:s3cret"] {
            let refused = parse(bad).expect_err(bad);
            assert!(refused.contains("expected sqlite:PATH") && !refused.contains("s3cret"), "{refused}");
        }
    }
}
