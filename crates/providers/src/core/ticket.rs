//! What is kept of a call so that a restart goes on with it instead of paying again.
//!
//! A ticket is written before anything is sent that may be billed. What is found written as sent, without an answer, may
//! have been billed: it is not sent again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::call::Progress;
use super::cost::Cost;
use super::error::MakerError;

/// How far one of a call's tasks has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Task {
    /// On its way; nobody knows whether the maker has it.
    Sent {
        #[serde(default)]
        cost: u64,
    },
    /// The maker has it, under this id.
    Submitted { id: String, poll: String, seed: Option<u64>, cost: u64 },
    /// The maker has answered; the pictures are still to be fetched.
    Answered { links: Vec<String>, seed: Option<u64>, cost: u64, id: Option<String> },
}

impl Task {
    /// What it has cost, or may have.
    pub(crate) fn cost(&self) -> Cost {
        let (Self::Sent { cost } | Self::Submitted { cost, .. } | Self::Answered { cost, .. }) = self;
        Cost::from_micros(*cost)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Ticket {
    maker: String,
    tasks: BTreeMap<u32, Task>,
}

/// The tasks of one call, kept as they go.
pub(crate) struct Tickets<'a> {
    progress: &'a dyn Progress,
    ticket: Mutex<Ticket>,
}

impl<'a> Tickets<'a> {
    /// Empty, or what was kept when the call was begun before.
    pub(crate) fn new(maker: &str, kept: Option<&str>, progress: &'a dyn Progress) -> Self {
        let kept: Option<Ticket> = kept.and_then(|text| serde_json::from_str(text).ok());
        let ticket = kept.filter(|ticket| ticket.maker == maker).unwrap_or_default();
        let ticket = Ticket { maker: maker.to_owned(), ..ticket };
        Self { progress, ticket: Mutex::new(ticket) }
    }

    /// How far a task has come.
    pub(crate) async fn get(&self, index: u32) -> Option<Task> {
        self.ticket.lock().await.tasks.get(&index).cloned()
    }

    /// A task is about to be sent. What cannot be kept is not sent.
    pub(crate) async fn sending(&self, index: u32, cost: Cost) -> Result<(), MakerError> {
        self.put(index, Some(Task::Sent { cost: cost.micros() })).await.map_err(|reason| {
            tracing::error!(reason, "a maker's call could not be noted, and is not made");
            MakerError::unavailable("The server could not note this request before sending it; try again", true)
        })
    }

    /// A task has come further. If that cannot be kept, the call goes on all the same: it is paid for.
    pub(crate) async fn at(&self, index: u32, task: Task) {
        self.note(index, Some(task)).await;
    }

    /// A task was refused: nothing of it is left, and it may be sent again.
    pub(crate) async fn unsent(&self, index: u32) {
        self.note(index, None).await;
    }

    async fn note(&self, index: u32, task: Option<Task>) {
        if let Err(reason) = self.put(index, task).await {
            tracing::error!(reason, "the state of a maker's call could not be noted");
        }
    }

    async fn put(&self, index: u32, task: Option<Task>) -> Result<(), String> {
        // held while it is written, so that an older state never overwrites a newer one
        let mut ticket = self.ticket.lock().await;
        match task {
            Some(task) => ticket.tasks.insert(index, task),
            None => ticket.tasks.remove(&index),
        };
        let text = serde_json::to_string(&*ticket).map_err(|e| e.to_string())?;
        self.progress.submitted(&text).await
    }
}

/// Whether a ticket speaks of anything that may have been sent.
pub fn is_open(ticket: &str) -> bool {
    serde_json::from_str::<Ticket>(ticket).is_ok_and(|ticket| !ticket.tasks.is_empty())
}

/// What all that a ticket speaks of has cost, or may have.
pub fn spent_so_far(ticket: &str) -> Option<Cost> {
    let ticket: Ticket = serde_json::from_str(ticket).ok()?;
    Some(ticket.tasks.values().map(Task::cost).sum())
}

/// The ids under which the maker knows the tasks of a ticket, for people.
pub fn maker_ids(ticket: &str) -> Vec<String> {
    let ticket: Ticket = serde_json::from_str(ticket).unwrap_or_default();
    let id = |task: Task| match task {
        Task::Sent { .. } => None,
        Task::Submitted { id, .. } => Some(id),
        Task::Answered { id, .. } => id,
    };
    ticket.tasks.into_values().filter_map(id).collect()
}
