//! What has been kept long enough goes: expired files, the parts of abandoned uploads, old jobs with their pictures.

use std::time::{Duration, UNIX_EPOCH};

use scumble_store::FileRecord;
use tokio::time::MissedTickBehavior;

use crate::work::Worker;

/// How many rows are looked at in one go.
const BATCH: u32 = 100;

/// Cleans up for ever. Whatever fails is tried again the next time, and does not stop the rest.
pub(crate) async fn cleanup(worker: Worker) {
    let mut times = tokio::time::interval(worker.config.cleanup);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        // before the files: theirs end with them
        if let Err(error) = purge(&worker).await {
            tracing::error!(%error, "old jobs could not be removed");
        }
        if let Err(error) = remove_expired(&worker).await {
            tracing::error!(%error, "expired files could not be looked for");
        }
        if let Err(error) = sweep(&worker).await {
            tracing::error!(%error, "abandoned uploads could not be removed");
        }
    }
}

/// Bytes first, then the row: in the other order a crash would leave bytes that nobody knows of.
async fn remove_expired(worker: &Worker) -> scumble_store::Result<()> {
    loop {
        let expired = worker.store.expired_files(BATCH).await?;
        let mut removed = 0;
        for file in &expired {
            if remove_bytes(worker, file).await {
                worker.store.forget_file(&file.path).await?;
                // from the database it may have got into the folder meanwhile
                remove_bytes(worker, file).await;
                removed += 1;
            }
        }
        if removed > 0 {
            tracing::info!(files = removed, "expired files removed");
        }
        // one that cannot be removed now would come back at once
        if removed < expired.len() || expired.is_empty() {
            return Ok(());
        }
    }
}

async fn remove_bytes(worker: &Worker, file: &FileRecord) -> bool {
    let removed = match file.path.parse() {
        Ok(path) => worker.files.delete(&path).await.map_err(|e| e.to_string()),
        Err(error) => Err(format!("{error}")),
    };
    if let Err(error) = &removed {
        tracing::error!(file.path, error, "an expired file cannot be removed");
    }
    removed.is_ok()
}

async fn sweep(worker: &Worker) -> scumble_files::Result<()> {
    let now = UNIX_EPOCH + Duration::from_millis(worker.clock.now_ms().max(0).unsigned_abs());
    let Some(before) = now.checked_sub(worker.config.parts) else { return Ok(()) };
    let swept = worker.files.sweep(before).await?;
    if swept > 0 {
        tracing::info!(parts = swept, "abandoned uploads removed");
    }
    Ok(())
}

async fn purge(worker: &Worker) -> scumble_store::Result<()> {
    loop {
        let retention = worker.config.retention;
        let purged = match worker.config.keeps_older {
            true => worker.store.purge_younger(retention, BATCH).await?,
            false => worker.store.purge(retention, BATCH).await?,
        };
        if purged > 0 {
            tracing::info!(jobs = purged, "old jobs removed");
        }
        if purged < u64::from(BATCH) {
            return Ok(());
        }
    }
}
