//! What answers endpoints in this installation, where a name's meaning depends on it.

use scumble_api::{Answers, Endpoint, is_openai_name};

use crate::pages::Workers;
use crate::state::AppState;

/// What the workers say. Nothing is asked for names that mean the same everywhere.
pub(super) struct Here(Option<Workers>);

impl Here {
    pub(super) async fn find(state: &AppState, name: Option<&str>) -> scumble_store::Result<Self> {
        Ok(Self(if is_openai_name(name) { Some(Workers::now(state).await?) } else { None }))
    }

    pub(super) fn answers(&self, endpoint: &Endpoint) -> Option<Answers> {
        self.0.as_ref()?.answers(endpoint).cloned()
    }
}
