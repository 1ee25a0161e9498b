//! Folders, database, files, address: each is not only looked at but used.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use scumble_files::Files;
use scumble_store::Store;
use tokio::net::TcpListener;

use super::Finding;
use crate::failure::Failure;
use crate::settings::{Database, open_files};

pub(super) fn data_dir(folder: &Path) -> Finding {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&probe, "written"));
    let removed = written.and_then(|()| std::fs::remove_file(&probe));
    removed
        .map(|()| format!("{} can be written", folder.display()))
        .map_err(|error| {
            let folder = folder.display();
            Failure::System(format!(
                "the data dir {folder} cannot be written: {error}; choose another with --data-dir, or change its owner"
            ))
        })
        .into()
}

pub(super) async fn database(database: &Database, store: &dyn Store) -> Finding {
    let counted = store.counts().await.map_err(Failure::from);
    counted
        .map(|counts| format!("{database}, {} jobs waiting or running", counts.iter().map(|c| c.jobs).sum::<u64>()))
        .into()
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

/// Binds the address; nothing is answered yet.
pub(super) async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?;
        Ok((listener, port))
    };
    bound.await.map_err(|error: std::io::Error| {
        Failure::System(match error.kind() {
            ErrorKind::AddrInUse => {
                format!("{address} is in use, perhaps by a server that runs already; choose another with --listen")
            }
            _ => format!("cannot listen on {address}: {error}; choose another with --listen"),
        })
    })
}
