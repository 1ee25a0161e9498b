//! Folders, database, files, address: each is not only looked at but used.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::Path;

use scumble_api::published::{gigabytes, whole_units};
use scumble_files::{Files, Trouble};
use scumble_server::little_room;
use scumble_store::Store;
use tokio::net::TcpListener;

use super::{Finding, absent};
use crate::commands::serve::kept;
use crate::failure::Failure;
use crate::private;
use crate::settings::{Database, Settings, folder_of, open_files};

/// Whether it can be written, and is nobody else's to read.
pub(super) fn data_dir(settings: &Settings) -> Finding {
    let folder = &settings.data_dir;
    let unusable = |why: String| {
        let folder = folder.display();
        Finding::Fails(Failure::System(format!(
            "the data dir {folder} cannot be written: {why}; choose another with --data-dir, or change its owner"
        )))
    };
    if let Err(failure) = private::make_folder(folder) {
        return unusable(failure.message());
    }
    // looked at before there is a file of our own in it
    let open = private::too_open(settings);
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let written = std::fs::write(&probe, "written").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Err(error) => unusable(error.to_string()),
        Ok(()) => closed(folder, &open),
    }
}

/// Whether others could read what is kept in a data dir. Who may look into the folder alone, as its owner made it, learns
/// nothing but names: `serve` starts as if it had been closed.
fn closed(folder: &Path, open: &[private::TooOpen]) -> Finding {
    let list = open.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let told = format!("others on this machine may look into {list}: `scumble serve` closes");
    match open {
        [] => Finding::Well(format!("{} can be written", folder.display())),
        [one] if one.path == folder => Finding::Odd(format!("{told} it when it starts, or chmod does")),
        _ => Finding::Fails(Failure::System(format!("{told} them when it starts, or chmod does"))),
    }
}

/// Whether there is room for new work, where that is known. Without, a server starts all the same: everything can be read.
pub(super) fn space(settings: &Settings) -> Option<Finding> {
    let floor = settings.server.free_bytes;
    let database = match &settings.database {
        // where a link leads
        Database::Sqlite(path) => path.canonicalize().unwrap_or_else(|_| path.clone()).parent().map(Path::to_owned),
        Database::Postgres(_) => None,
    };
    let places = [("the database is", database), ("the files are", folder_of(&settings.files))];
    let left = places.into_iter().filter_map(|(what, folder)| {
        let folder = absent::nearest(&folder?);
        let free = scumble_files::free_bytes(&folder).ok().flatten()?;
        Some((what, folder, free))
    });
    let left: Vec<_> = left.collect();
    let tight = left.iter().find_map(|(what, folder, free)| little_room(what, folder, *free, floor));
    let (_, _, least) = left.iter().min_by_key(|(_, _, free)| *free)?;
    Some(match tight {
        Some(said) => Finding::Odd(format!(
            "{said}: until there is more, new calls, submits and uploads get a 503. Free some (`scumble doctor --data` says how \
             old things are), or ask for less"
        )),
        None => Finding::Well(format!(
            "{} are left, and [store] free_bytes asks for {}",
            gigabytes(*least),
            whole_units(floor)
        )),
    })
}

pub(super) async fn database(settings: &Settings, store: &dyn Store) -> Finding {
    let looked = async {
        let (counts, kept) = (store.counts().await?, kept(&settings.worker, store).await?);
        let jobs: u64 = counts.iter().map(|count| count.jobs).sum();
        Ok(format!("{}, {jobs} jobs waiting or running; {kept}", settings.database))
    };
    looked.await.map_err(|error: scumble_store::Error| Failure::from(error)).into()
}

/// A place for files that was not used yet, with nothing made there; none where it was, or where it is not a folder.
pub(super) fn looked_at(url: &str) -> Option<Finding> {
    let folder = &folder_of(url)?;
    if !folder.exists() {
        return Some(absent::folder("the folder of the images", folder, "--files"));
    }
    if folder.join("spool").exists() || !folder.is_dir() {
        return None;
    }
    let tried = tempfile::NamedTempFile::new_in(folder).and_then(|mut probe| {
        probe.write_all(b"probe")?;
        std::fs::read(probe.path())
    });
    Some(match tried {
        Ok(read) if read == b"probe" => Finding::Well(format!("{url} can be written and read")),
        Ok(_) => {
            Finding::Fails(Failure::System(format!("{url} gives back other bytes than were written; {ELSEWHERE}")))
        }
        Err(error) => Finding::Fails(Failure::System(format!("files cannot be kept in {url}: {error}; {ELSEWHERE}"))),
    })
}

/// Opens the place, then writes, reads and removes a file there.
pub(super) async fn files(url: &str) -> Result<Files, Failure> {
    let files = open_files(url).map_err(|failure| match failure {
        Failure::System(why) => Failure::System(format!("{why}; {ELSEWHERE}")),
        other => other,
    })?;
    let tried = async {
        let stored = files.put("probe".into(), "text/plain", "probe.txt").await?;
        let read = files.get(&stored.path, None).await?.bytes().await;
        files.delete(&stored.path).await?;
        read
    };
    match tried.await {
        Ok(bytes) if bytes == "probe" => Ok(files),
        Ok(_) => Err(Failure::System(format!("{url} gives back other bytes than were written; {ELSEWHERE}"))),
        Err(error) => {
            let advice = advice(error.trouble());
            Err(Failure::System(format!("files cannot be kept in {url}: {error}; {advice}")))
        }
    }
}

const ELSEWHERE: &str = "choose another place with --files";

/// What helps: another place only where nothing else does.
fn advice(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Absent => "make it, or choose another place with --files",
        Trouble::Silent => "check AWS_ENDPOINT_URL and AWS_REGION, and that this machine reaches what they name",
        Trouble::Keyless => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the same with _FILE behind them: without a key this \
             machine is asked for a role of its own, and it has none"
        }
        Trouble::Refused => {
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that this key may get, put, delete and list objects \
             there, or choose another place with --files"
        }
        Trouble::Other => ELSEWHERE,
    }
}

/// Binds the address that the flag names; nothing is answered yet.
pub(super) async fn listen(address: SocketAddr, flag: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?;
        Ok((listener, port))
    };
    bound.await.map_err(|error: std::io::Error| {
        Failure::System(match error.kind() {
            ErrorKind::AddrInUse => {
                format!("{address} is in use, perhaps by a server that runs already; choose another with {flag}")
            }
            _ => format!("cannot listen on {address}: {error}; choose another with {flag}"),
        })
    })
}
