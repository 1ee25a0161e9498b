//! What answers each endpoint in this installation, as its workers say.

use std::collections::HashMap;

use scumble_api::{AboutWorker, Answers, Checks, Endpoint, SAFETY_CHECKER, Standing};
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
    /// For filters and styles: `here`, `maker`, `stand-in`, `missing`, `not-yet`, `nobody`.
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

    /// What looks at its pictures, where it has a switch for that and anybody is there who would know: makers do as they do.
    pub(super) fn checks(&self, endpoint: &Endpoint) -> Option<String> {
        let is_asked = endpoint.field(SAFETY_CHECKER).is_some() && endpoint.family.maker().is_none();
        let is_elsewhere = matches!(self.answers(endpoint), None | Some(Answers::Maker));
        if !is_asked || is_elsewhere {
            return None;
        }
        let draws = |about: &&AboutWorker| about.answers.get(endpoint.id) == Some(&Answers::Here);
        let drawing = self.0.iter().map(|(_, about)| about).filter(draws);
        Some(Checks::said(&drawing.map(|about| about.checks.as_ref()).collect::<Vec<_>>()))
    }

    /// How this endpoint stands by that.
    pub(crate) fn standing(&self, endpoint: &Endpoint) -> Standing {
        Standing::of(endpoint, self.answers(endpoint))
    }

    /// The same for pages.
    pub(super) fn way(&self, endpoint: &Endpoint) -> Way {
        self.standing(endpoint).into()
    }
}

impl From<Standing> for Way {
    fn from(Standing { word, label, text }: Standing) -> Self {
        let kind = match word {
            "needs-weights" | "needs-key" => "missing",
            "no-worker" => "nobody",
            word => word,
        };
        Self { kind, badge: label, text }
    }
}
