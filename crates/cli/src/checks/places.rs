//! Folders, database, files, address: each is not only looked at but used.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;

use scumble_files::Files;
use scumble_store::Store;
use tokio::net::TcpListener;

use super::{Finding, absent};
use crate::commands::serve::kept;
use crate::failure::Failure;
use crate::private;
use crate::settings::{Settings, folder_of, open_files};

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
    let open: Vec<String> = private::too_open(settings).iter().map(ToString::to_string).collect();
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let written = std::fs::write(&probe, "written").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Err(error) => unusable(error.to_string()),
        Ok(()) if open.is_empty() => Finding::Well(format!("{} can be written", folder.display())),
        Ok(()) => Finding::Fails(Failure::System(format!(
            "others on this machine may look into {}: `scumble serve` closes them when it starts, or chmod does",
            open.join(", ")
        ))),
    }
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
        Ok(_) => Finding::Fails(Failure::System(format!(
            "{url} gives back other bytes than were written; choose another place with --files"
        ))),
        Err(error) => Finding::Fails(Failure::System(format!(
            "files cannot be kept in {url}: {error}; choose another place with --files"
        ))),
    })
}

/// Opens the place, then writes, reads and removes a file there.
pub(super) async fn files(url: &str) -> Result<Files, Failure> {
    let elsewhere = |why: String| Failure::System(format!("{why}; choose another place with --files"));
    let files = open_files(url).map_err(|failure| match failure {
        Failure::System(why) => elsewhere(why),
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
        Ok(_) => Err(Failure::System(format!(
            "{url} gives back other bytes than were written; choose another place with --files"
        ))),
        Err(error) => Err(elsewhere(format!("files cannot be kept in {url}: {error}"))),
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
