//! A SQLite file of a test's own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use scumble_store::suite::Place;
use scumble_store::{
    Admission, Claim, Claimable, Enqueued, Job, ManualClock, NewJob, Options, Outcome, Result, SqliteStore, Store,
};
use tempfile::TempDir;

pub(crate) struct SqlitePlace {
    folder: TempDir,
    clock: Arc<ManualClock>,
}

impl SqlitePlace {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { folder, clock: Arc::new(ManualClock::at(1_700_000_000_000)) }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("scumble.db")
    }

    pub(crate) async fn open_sqlite(&self, options: Options) -> Result<SqliteStore> {
        SqliteStore::open(self.path(), options).await
    }

    /// The names of the files in the folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).expect("a temporary folder can be listed");
        let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        entries.map(|entry| name(entry.expect("a temporary folder can be listed"))).collect()
    }
}

#[async_trait]
impl Place for SqlitePlace {
    async fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(self.open_sqlite(Options { clock: self.clock.clone(), ..options() }).await?))
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

pub(crate) fn options() -> Options {
    Options::default()
}

pub(crate) fn new_job() -> NewJob {
    NewJob::new("fal-ai/flux/schnell", serde_json::json!({"prompt": "two red stars"}))
}

/// Enqueues a job that nothing speaks against.
pub(crate) async fn enqueue(store: &dyn Store, new: NewJob) -> Result<Job> {
    match store.enqueue(new, Admission::default()).await? {
        Enqueued::New { job, .. } => Ok(job),
        other => panic!("the job was not accepted: {other:?}"),
    }
}

/// The wish for whatever comes next.
pub(crate) fn claim() -> Claim {
    Claim { worker: "w/0".to_owned(), endpoints: Claimable::All, lease_ms: 1_000, per_key: None, start: false }
}

pub(crate) fn cancelled() -> Outcome {
    Outcome {
        status: Outcome::CANCELLED,
        body: serde_json::json!({"detail": "cancelled"}),
        headers: BTreeMap::new(),
        error: Some("cancelled".to_owned()),
        error_type: Some("client_cancelled".to_owned()),
        inference_ms: None,
    }
}

/// A plain connection to the database, beside the store's.
pub(crate) fn connect(path: &Path) -> Connection {
    Connection::open(path).expect("the database can be opened")
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made")
}
