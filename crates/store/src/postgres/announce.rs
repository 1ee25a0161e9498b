//! Announcing changes: at once in this process, and by NOTIFY to the others on the same database.
//!
//! NOTIFY stands in a transaction of its own behind the writes, many changes in one. PostgreSQL lets transactions that
//! notify commit one after the other, flush included; within the writes it would take away their group commit. What a
//! process announces here is committed; what it does not get to announce any more, others find when they poll.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{Change, JobId};

/// Changes a receiver may be behind before it misses some.
const CHANGES_KEPT: usize = 1024;
/// Changes that may wait to be told to other processes.
const UNTOLD_MAX: usize = 4096;
/// PostgreSQL takes payloads below 8000 bytes.
const PAYLOAD_MAX: usize = 7900;
/// Between tries to listen again.
const RELISTEN: std::time::Duration = std::time::Duration::from_secs(1);

/// Where a store's changes go.
pub(super) struct Announcer {
    here: broadcast::Sender<Change>,
    there: mpsc::Sender<Word>,
    listening: JoinHandle<()>,
    listeners: PgPool,
}

enum Word {
    Change(Change),
    Close(oneshot::Sender<()>),
}

/// A notification. Short names, because many have to fit.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Payload {
    /// Who has told its own listeners already.
    from: String,
    /// Endpoints with jobs to claim.
    #[serde(rename = "q", default, skip_serializing_if = "Vec::is_empty")]
    queued: Vec<String>,
    /// Jobs.
    #[serde(rename = "j", default, skip_serializing_if = "Vec::is_empty")]
    jobs: Vec<String>,
    /// Jobs that workers are asked to cancel.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    cancelling: Vec<String>,
    /// Jobs that have ended.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    ended: Vec<String>,
    /// Whether a webhook can be delivered.
    #[serde(rename = "d", default)]
    delivery: bool,
}

impl Announcer {
    /// Listens, and begins to tell.
    pub(super) async fn start(pool: PgPool, listeners: PgPool, channel: String) -> sqlx::Result<Self> {
        let (here, _) = broadcast::channel(CHANGES_KEPT);
        let (there, untold) = mpsc::channel(UNTOLD_MAX);
        let myself = Uuid::new_v4().simple().to_string();
        let listener = listener_on(&listeners, &channel).await?;
        let listening =
            tokio::spawn(listen(listener, listeners.clone(), channel.clone(), myself.clone(), here.clone()));
        tokio::spawn(tell(pool, channel, myself, untold));
        Ok(Self { here, there, listening, listeners })
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.here.subscribe()
    }

    /// Announces a change that is on disk.
    pub(super) fn announce(&self, change: Change) {
        if self.there.try_send(Word::Change(change.clone())).is_err() {
            tracing::debug!("a change is not told to other processes: too many wait, or the store is closed");
        }
        // Nobody listening is fine.
        let _ = self.here.send(change);
    }

    /// Tells what is left to tell, and stops.
    pub(super) async fn close(&self) {
        let (reply, told) = oneshot::channel();
        if self.there.send(Word::Close(reply)).await.is_ok() {
            // An error means that the task is gone, which is what was asked for.
            let _ = told.await;
        }
        self.listening.abort();
        self.listeners.close().await;
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Tells other processes, everything that has come up in one go.
async fn tell(pool: PgPool, channel: String, myself: String, mut untold: mpsc::Receiver<Word>) {
    let mut words = Vec::new();
    while untold.recv_many(&mut words, UNTOLD_MAX).await > 0 {
        let mut closing = None;
        let mut changes = HashSet::new();
        for word in words.drain(..) {
            match word {
                Word::Change(change) => drop(changes.insert(change)),
                Word::Close(reply) => closing = Some(reply),
            }
        }
        let payloads = payloads(&myself, changes);
        let told = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")
            .bind(&channel)
            .bind(&payloads)
            .execute(&pool);
        if !payloads.is_empty()
            && let Err(error) = told.await
        {
            tracing::debug!(%error, "changes are not told to other processes, who will find them when they poll");
        }
        if let Some(reply) = closing {
            let _ = reply.send(());
            return;
        }
    }
}

/// Puts changes into as few payloads as they fit.
fn payloads(myself: &str, changes: HashSet<Change>) -> Vec<String> {
    let empty = || Payload { from: myself.to_owned(), ..Payload::default() };
    let mut full = Vec::new();
    let (mut payload, mut bytes) = (empty(), 100);
    for change in changes {
        // A byte may take six in JSON.
        let size = match &change {
            Change::Queued { endpoint } => endpoint.len() * 6 + 3,
            Change::Job(_) | Change::Cancelling(_) | Change::Ended(_) => 39,
            Change::Delivery => 0,
        };
        if size > PAYLOAD_MAX / 2 {
            tracing::debug!(size, "an endpoint with so long a name is not told to other processes");
            continue;
        }
        if bytes + size > PAYLOAD_MAX {
            full.push(std::mem::replace(&mut payload, empty()));
            bytes = 100;
        }
        bytes += size;
        match change {
            Change::Queued { endpoint } => payload.queued.push(endpoint),
            Change::Job(id) => payload.jobs.push(id.to_string()),
            Change::Cancelling(id) => payload.cancelling.push(id.to_string()),
            Change::Ended(id) => payload.ended.push(id.to_string()),
            Change::Delivery => payload.delivery = true,
        }
    }
    if payload != empty() {
        full.push(payload);
    }
    full.iter().filter_map(|payload| serde_json::to_string(payload).ok()).collect()
}

/// Announces here what other processes have told. A connection that is lost is made anew; what was told meanwhile is
/// lost, and found by polling.
async fn listen(
    mut listener: PgListener,
    listeners: PgPool,
    channel: String,
    myself: String,
    here: broadcast::Sender<Change>,
) {
    loop {
        let lost = hear(&mut listener, &myself, &here).await;
        tracing::debug!(error = %lost, "changes of other processes are not heard; listening again");
        // There is room for one connection.
        drop(listener);
        listener = loop {
            tokio::time::sleep(RELISTEN).await;
            match listener_on(&listeners, &channel).await {
                Ok(listener) => break listener,
                Err(sqlx::Error::PoolClosed) => return,
                Err(error) => tracing::debug!(%error, "changes of other processes are not heard; trying again"),
            }
        };
    }
}

async fn listener_on(listeners: &PgPool, channel: &str) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect_with(listeners).await?;
    listener.listen(channel).await?;
    Ok(listener)
}

/// Announces until the connection is lost: the error that it is lost with.
async fn hear(listener: &mut PgListener, myself: &str, here: &broadcast::Sender<Change>) -> sqlx::Error {
    loop {
        let notification = match listener.recv().await {
            Ok(notification) => notification,
            Err(error) => return error,
        };
        // Anybody with access to the database may notify anything.
        let Ok(payload) = serde_json::from_str::<Payload>(notification.payload()) else { continue };
        if payload.from != myself {
            for change in changes(payload) {
                // Nobody listening is fine.
                let _ = here.send(change);
            }
        }
    }
}

fn changes(payload: Payload) -> impl Iterator<Item = Change> {
    let Payload { from: _, queued, jobs, cancelling, ended, delivery } = payload;
    let ids = |ids: Vec<String>| ids.into_iter().filter_map(|id| id.parse::<JobId>().ok());
    let queued = queued.into_iter().map(|endpoint| Change::Queued { endpoint });
    queued
        .chain(ids(jobs).map(Change::Job))
        .chain(ids(cancelling).map(Change::Cancelling))
        .chain(ids(ended).map(Change::Ended))
        .chain(delivery.then_some(Change::Delivery))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_fit_into_few_payloads_and_come_back() {
        let mut all: HashSet<_> = (0..1_000).map(|_| Change::Job(JobId::random())).collect();
        all.extend((0..100).flat_map(|_| [Change::Ended(JobId::random()), Change::Cancelling(JobId::random())]));
        all.extend((0..200).map(|i| Change::Queued { endpoint: format!("endpoint \"{i}\" \u{1} ünïcode") }));
        all.insert(Change::Delivery);
        let payloads = payloads("me", all.clone());
        assert!(payloads.len() < 15, "{}", payloads.len());
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        let back = payloads.iter().flat_map(|payload| {
            let Ok(payload) = serde_json::from_str::<Payload>(payload) else { panic!("{payload}") };
            assert_eq!(payload.from, "me");
            changes(payload)
        });
        assert_eq!(back.collect::<HashSet<_>>(), all);
    }

    #[test]
    fn a_name_that_does_not_fit_takes_nothing_with_it() {
        let long = Change::Queued { endpoint: "x".repeat(8_000) };
        let told = payloads("me", HashSet::from([long, Change::Delivery]));
        assert_eq!(told, [r#"{"from":"me","d":true}"#]);
    }
}
