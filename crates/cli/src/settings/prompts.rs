//! The language model that makes prompts longer: `[prompts]`, and its key from the environment.

use std::time::Duration;

use scumble_worker::makers::Secret;
use scumble_worker::{ChatSettings, Prompts};

use super::sections::{PromptsSection, Token};
use super::{secret, units};
use crate::failure::Failure;

/// The variable of its key.
const KEY: &str = "SCUMBLE_PROMPTS_API_KEY";

/// A model on the processor takes its time.
const DEADLINE: Duration = Duration::from_secs(30);

/// A hundred and twenty words, and thoughts before them.
const MAX_TOKENS: u32 = 1024;

/// Nobody, where the section is missing.
pub(super) fn open(section: Option<PromptsSection>) -> Result<Prompts, Failure> {
    let Some(PromptsSection { url, model, api_key, deadline_s, max_tokens, instruction }) = section else {
        return Ok(Prompts::default());
    };
    let api_key = secret::variable(KEY)?.or_else(|| api_key.map(|Token(key)| key));
    let settings = ChatSettings {
        url,
        model,
        api_key: api_key.map(|key| Secret::new(&key)),
        deadline: units::seconds("[prompts] deadline_s", deadline_s.as_ref())?.unwrap_or(DEADLINE),
        max_tokens: max_tokens.unwrap_or(MAX_TOKENS),
        instruction,
    };
    Prompts::new(settings).map_err(|(name, why)| Failure::Usage(format!("[prompts] {name}: {why}")))
}
