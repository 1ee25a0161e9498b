//! What answers each endpoint in this installation, as its workers say.

use std::collections::HashMap;

use scumble_api::{AboutWorker, Answers, Endpoint};
use scumble_store::WorkerRecord;
use serde::Serialize;

use crate::state::AppState;

/// A worker that was silent for so long is gone; they speak up every ten seconds.
const SILENT_MS: i64 = 35_000;

/// The workers that are there.
pub(crate) struct Workers(Vec<(WorkerRecord, AboutWorker)>);

/// How an endpoint is answered, in words.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Way {
    /// For filters and styles: `here`, `maker`, `stand-in`, `missing`, `nobody`.
    pub(super) kind: &'static str,
    /// On a badge.
    pub(super) badge: &'static str,
    /// What it means, and what to do.
    pub(super) text: String,
}

impl Workers {
    pub(crate) async fn now(state: &AppState) -> scumble_store::Result<Self> {
        let found = state.store.workers(state.clock.now_ms().saturating_sub(SILENT_MS)).await?;
        // what another version says differently is as good as unsaid
        let about = |worker: &WorkerRecord| serde_json::from_value(worker.about.clone()).unwrap_or_default();
        Ok(Self(
            found.into_iter().map(|worker| (about(&worker), worker)).map(|(about, worker)| (worker, about)).collect(),
        ))
    }

    pub(super) fn all(&self) -> &[(WorkerRecord, AboutWorker)] {
        &self.0
    }

    /// By the names that stand before the slash in leases.
    pub(super) fn devices(&self) -> HashMap<&str, &str> {
        self.0.iter().map(|(worker, about)| (worker.name.as_str(), about.device.as_str())).collect()
    }

    /// The best that any of them has for this endpoint.
    pub(crate) fn answers(&self, endpoint: &Endpoint) -> Option<&Answers> {
        let found = self.0.iter().filter_map(|(_, about)| about.answers.get(endpoint.id));
        found.min_by_key(|answers| answers.rank())
    }

    /// The same for people.
    pub(super) fn way(&self, endpoint: &Endpoint) -> Way {
        Way::of(self.answers(endpoint), endpoint)
    }
}

impl Way {
    fn of(answers: Option<&Answers>, endpoint: &Endpoint) -> Self {
        let (kind, badge, text) = match answers {
            Some(Answers::Here) => ("here", "Runs here", "Its model runs on this server.".to_owned()),
            Some(Answers::Maker) => {
                let maker = endpoint.family.maker().map_or("its maker", |maker| maker.title());
                ("maker", "Through its maker", format!("{maker} makes the picture, with this server's key."))
            }
            Some(Answers::StandIn) => {
                ("stand-in", "Stand-in", "No model runs: a drawn card stands in for the picture.".to_owned())
            }
            Some(Answers::Nothing { advice }) => {
                let badge = if endpoint.family.maker().is_some() { "Needs a key" } else { "Needs weights" };
                ("missing", badge, advice.clone())
            }
            None => (
                "nobody",
                "No worker",
                "No worker is connected: requests wait until one is. Start one with `scumble serve --role worker`."
                    .to_owned(),
            ),
        };
        Self { kind, badge, text }
    }
}
