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
}

impl Place {
    /// Reads the file, and what it and the flags say about places.
    pub(super) fn read(args: &PlaceArgs) -> Result<(Self, File), Failure> {
        let file = File::read(args.config.as_deref())?;
        let data_dir = data_dir(args.data_dir.as_deref())?;
        let database = match database_url(args, file.store.url.as_deref())? {
            Some(url) => Database::parse(&url)?,
            None => Database::Sqlite(data_dir.join("scumble.db")),
        };
        Ok((Self { data_dir, database }, file))
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

/// Flag over environment over file, each of the first two directly or by way of a file.
fn database_url(args: &PlaceArgs, in_file: Option<&str>) -> Result<Option<String>, Failure> {
    if let Some(url) = &args.database {
        if Database::parse(url)?.has_password() {
            out::warn(
                "other users of this machine can read the password in --database in its list of processes; put the URL \
                 into a file and name that with --database-file FILE, or set DATABASE_URL",
            );
        }
        return Ok(Some(url.clone()));
    }
    if let Some(path) = &args.database_file {
        return secret::file("--database-file", path).map(Some);
    }
    Ok(secret::variable("DATABASE_URL")?.or_else(|| in_file.map(str::to_owned)))
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
