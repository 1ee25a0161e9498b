//! Prompts that are made longer before they are drawn (`expand_prompt`), by the language model that the owner names.

use std::fmt;
use std::sync::Arc;

use scumble_api::Input;
use scumble_providers::{Chat, ChatSettings};

use crate::inputs::cancelled;
use crate::runner::{RunError, Watch};

/// The field that asks for it.
const FIELD: &str = "expand_prompt";

/// Who makes prompts longer, where somebody does. Cheap to clone.
#[derive(Clone, Default)]
pub struct Prompts(Option<Arc<Chat>>);

impl Prompts {
    /// With the owner's language model.
    ///
    /// # Errors
    /// The name of a setting that cannot be used, and why.
    pub fn new(settings: ChatSettings) -> Result<Self, (&'static str, String)> {
        Chat::new(settings).map(|chat| Self(Some(Arc::new(chat))))
    }

    /// Whether somebody elsewhere is asked before this input is drawn here.
    pub(crate) fn are_asked(&self, input: &Input) -> bool {
        self.0.is_some() && wants(input)
    }

    /// The prompt to draw in place of the input's, if it asks for a longer one. Where there is none, the log says why: the
    /// picture is drawn all the same.
    ///
    /// # Errors
    /// The watch has cancelled the run.
    pub async fn longer(&self, input: &Input, watch: &dyn Watch) -> Result<Option<String>, RunError> {
        if !wants(input) {
            return Ok(None);
        }
        let Some(chat) = &self.0 else {
            watch.log(&format!(
                "{FIELD}: no language model is set here ([prompts] in scumble.toml), so the prompt is used as it is"
            ));
            return Ok(None);
        };
        let prompt = input.request().prompt;
        let longer = tokio::select! {
            biased;
            () = cancelled(watch) => return Err(RunError::Cancelled),
            longer = chat.longer(&prompt) => longer,
        };
        match &longer {
            Ok(prompt) => watch.log(&format!("{FIELD}: the prompt is now: {prompt}")),
            Err(why) => watch.warn(&format!("{FIELD}: {why}, so the prompt is used as it is")),
        }
        Ok(longer.ok())
    }
}

impl fmt::Debug for Prompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Prompts(a language model)" } else { "Prompts(none)" })
    }
}

/// Whether an endpoint can be asked for longer prompts.
pub(crate) fn can_be_asked(endpoint: &scumble_api::Endpoint) -> bool {
    endpoint.field(FIELD).is_some()
}

/// An empty prompt has nothing to be made longer.
fn wants(input: &Input) -> bool {
    input.values().get(FIELD) == Some(&true.into()) && !input.request().prompt.trim().is_empty()
}
