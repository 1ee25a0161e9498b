//! Small pictures: the database keeps their bytes at first, and here they get into their folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use scumble_files::{FilePath, Files, Fresh, FreshError, Settler};
use scumble_store::{FreshSize, Store};
use tokio_util::sync::CancellationToken;

use crate::runner::Boxed;
use crate::work::Worker;

/// Pause between two looks. Where nothing came meanwhile there is time to settle what came before.
const EVERY: Duration = Duration::from_secs(1);

/// So much is settled while more comes.
const MUCH_BYTES: i64 = 16 * 1024 * 1024;

/// Files that are written and flushed together.
const TOGETHER: u32 = 256;

/// How much longer than that is the pause before the next ones.
const REST: u32 = 3;

/// Files that the database lets go of in one write: whoever else wants to write waits for it.
const LET_GO: usize = 32;

/// What a database keeps for files.
struct Kept(Arc<dyn Store>);

impl Fresh for Kept {
    fn bytes<'a>(&'a self, path: &'a FilePath) -> Boxed<'a, Result<Option<Bytes>, FreshError>> {
        Box::pin(async { Ok(self.0.fresh_bytes(path.as_str()).await?.map(Bytes::from)) })
    }
}

/// These files, with the small ones read from the database until they are in their folder.
#[must_use]
pub fn with_fresh(files: Files, store: Arc<dyn Store>) -> Files {
    if store.keeps_files() { files.with_fresh(Arc::new(Kept(store))) } else { files }
}

/// Puts small pictures into their folder: at first those that an earlier process has left, then when it is quiet or there
/// are many, and a last time once it is `closing`.
pub(crate) async fn settle(worker: Worker, closing: CancellationToken) {
    let settler = match worker.files.settler() {
        Ok(Some(settler)) => settler,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "small pictures stay in the database");
            return;
        }
    };
    let (mut seen, mut is_time) = (FreshSize::default(), true);
    loop {
        let is_last = closing.is_cancelled();
        if (is_time || is_last)
            && let Err(error) = settle_all(&worker, &settler, &closing).await
        {
            tracing::error!(error, "small pictures stay in the database for now; it is tried again");
        }
        if is_last {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = closing.cancelled() => {}
        }
        // should the database not tell, settling will say so
        let size = worker.store.fresh_size().await.unwrap_or(seen);
        is_time = size == seen || size.bytes >= MUCH_BYTES;
        seen = size;
    }
}

async fn settle_all(worker: &Worker, settler: &Settler, closing: &CancellationToken) -> Result<(), String> {
    let Worker { store, files, .. } = worker;
    loop {
        let fresh = store.fresh_files(TOGETHER).await.map_err(|e| e.to_string())?;
        if fresh.is_empty() {
            return Ok(());
        }
        let mut kept = Vec::new();
        for path in &fresh {
            let path: FilePath = path.parse().map_err(|e| format!("{path} is {e}"))?;
            let bytes = store.fresh_bytes(path.as_str()).await.map_err(|e| e.to_string())?;
            // without bytes it was deleted meanwhile
            kept.extend(bytes.map(|bytes| (path, bytes)));
        }
        let began = Instant::now();
        settler.settle(kept).await.map_err(|e| e.to_string())?;
        for settled in fresh.chunks(LET_GO) {
            for path in store.settle_files(settled.to_vec()).await.map_err(|e| e.to_string())? {
                let path = path.parse().map_err(|e| format!("{path} is {e}"))?;
                files.delete(&path).await.map_err(|e| e.to_string())?;
            }
        }
        if fresh.len() == TOGETHER as usize && !closing.is_cancelled() {
            // there are more, and others have something to do as well
            tokio::time::sleep(began.elapsed() * REST).await;
        }
    }
}
