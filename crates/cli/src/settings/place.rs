//! Where things are: the data dir, the database, the images, the server itself.

use std::path::{Path, PathBuf};

use scumble_server::Prefix;

use super::Database;
use super::file::File;
use super::secret;
use crate::args::{PlaceArgs, Role};
use crate::failure::Failure;
use crate::out;

/// What every command needs that looks at jobs or keys.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) data_dir: PathBuf,
    pub(crate) database: Database,
    /// How another command is told of the same database.
    pub(crate) named: Named,
}

/// What names a database.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    /// Nothing but the data dir.
    DataDir(PathBuf),
    /// `--database`, with a URL that is not repeated: it may hold a password.
    Flag(Database),
    /// `--database-file`.
    File(PathBuf),
    /// `DATABASE_URL`, or its twin with a file.
    Variable,
    /// A scumble.toml.
    Config(PathBuf),
}

impl Named {
    /// This command, for the same database: `scumble keys create` with what it needs.
    pub(crate) fn command(&self, command: &str) -> String {
        match self {
            Self::DataDir(folder) => format!("`{command} --data-dir {}`", folder.display()),
            Self::Flag(database) if database.is_shared() => {
                format!("`{command}` with the --database of this server, {database}")
            }
            Self::Flag(database) => format!("`{command} --database {database}`"),
            Self::File(path) => format!("`{command} --database-file {}`", path.display()),
            Self::Variable => format!("`{command}` with the DATABASE_URL that this server has"),
            Self::Config(path) => format!("`{command} --config {}`", path.display()),
        }
    }
}

impl Place {
    /// Reads the file, and what it and the flags say about places.
    pub(super) fn read(args: &PlaceArgs) -> Result<(Self, File), Failure> {
        let file = File::read(args.config.as_deref())?;
        let data_dir = data_dir(args.data_dir.as_deref())?;
        let (database, named) = match database_url(args)? {
            Some((url, named)) => (Database::parse(&url)?, named),
            None => match (&file.store.url, &args.config) {
                (Some(url), Some(config)) => (Database::parse(url)?, Named::Config(config.clone())),
                _ => (Database::Sqlite(data_dir.join("scumble.db")), Named::DataDir(data_dir.clone())),
            },
        };
        Ok((Self { data_dir, database, named }, file))
    }

    /// For commands that do not serve.
    pub(crate) fn of(args: &PlaceArgs) -> Result<Self, Failure> {
        Self::read(args).map(|(place, _)| place)
    }

    /// The same with where images are kept.
    pub(crate) fn with_files(args: &PlaceArgs, url: Option<&str>) -> Result<(Self, String), Failure> {
        let (place, file) = Self::read(args)?;
        let files = files(url.or(file.files.url.as_deref()), &place.data_dir, Role::All)?;
        Ok((place, files))
    }
}

/// Flag over environment, each directly or by way of a file, and which of them it was.
fn database_url(args: &PlaceArgs) -> Result<Option<(String, Named)>, Failure> {
    if let Some(url) = &args.database {
        let database = Database::parse(url)?;
        if database.has_password() {
            out::warn(
                "other users of this machine can read the password in --database in its list of processes; put the URL \
                 into a file and name that with --database-file FILE, or set DATABASE_URL",
            );
        }
        return Ok(Some((url.clone(), Named::Flag(database))));
    }
    if let Some(path) = &args.database_file {
        return Ok(Some((secret::file("--database-file", path)?, Named::File(path.clone()))));
    }
    Ok(secret::variable("DATABASE_URL")?.map(|url| (url, Named::Variable)))
}

/// `--data-dir`, else the user's data folder.
pub(crate) fn data_dir(typed: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = typed {
        return Ok(dir.to_owned());
    }
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")));
    base.map(|b| b.join("scumble")).ok_or_else(|| {
        Failure::Usage("neither XDG_DATA_HOME nor HOME is set; say where data goes with --data-dir DIR".into())
    })
}

/// Where images are kept. Half a server cannot keep them where the other half does not look.
pub(crate) fn files(url: Option<&str>, data_dir: &Path, role: Role) -> Result<String, Failure> {
    match (url, role) {
        (Some("memory:"), Role::Gateway | Role::Worker) => Err(Failure::Usage(
            "files in memory: are seen by one process only; a gateway and its workers need a folder or a bucket that \
             all of them reach"
                .into(),
        )),
        (Some(url), _) => Ok(url.to_owned()),
        (None, _) => {
            let folder = data_dir.join("files");
            let name =
                folder.to_str().ok_or_else(|| Failure::about("use", &folder, "its name is not text in UTF-8"))?;
            Ok(name.to_owned())
        }
    }
}

/// The folder that a place for images is; none where it is not one.
pub(crate) fn folder_of(url: &str) -> Option<PathBuf> {
    match url.split_once("://") {
        Some(("file", folder)) => Some(folder.into()),
        None if url != "memory:" => Some(url.into()),
        _ => None,
    }
}

/// An http(s) URL of this server: the beginning of all URLs in answers.
pub(super) fn public_url(url: Option<String>) -> Result<Option<String>, Failure> {
    let Some(url) = url else { return Ok(None) };
    let parsed = url.parse::<axum::http::Uri>().ok();
    let fine = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
            && uri.query().is_none()
    });
    if fine {
        return Ok(Some(url));
    }
    Err(Failure::Usage(format!(
        "[server] public_url: expected the URL at which callers reach this server, such as https://images.example.com; \
         got {url:?}"
    )))
}

/// The path below which a proxy shows this server.
pub(super) fn base_path(text: Option<&str>) -> Result<Prefix, Failure> {
    let Some(text) = text else { return Ok(Prefix::default()) };
    let is_service = ["/run", "/queue", "/rest", "/cdn", "/ws"].contains(&text.trim_end_matches('/'));
    Prefix::parse(text).filter(|_| !is_service).ok_or_else(|| {
        Failure::Usage(format!(
            "[server] base_path: expected the path below which a proxy shows this server, such as /scumble: letters, \
             digits and -._~ between slashes, and none of /run, /queue, /rest, /cdn and /ws, which are this server's \
             own; got {text:?}"
        ))
    })
}
