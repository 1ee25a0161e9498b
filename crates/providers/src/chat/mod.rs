//! A language model behind a chat endpoint in OpenAI's words: it makes prompts longer.
//!
//! Any server that answers `POST …/chat/completions` will do: llama.cpp's, Ollama's, vLLM's, OpenAI's own. The owner names
//! it, so it may be on this machine or a private network. The key goes there and, since no redirect is followed, nowhere
//! else.

mod answer;
mod kept;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use scumble_fetch::{Config, Fetcher, HeaderName, HeaderValue, Limits, Message, Method};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use self::kept::Kept;
use crate::core::secret::Secret;
use crate::wire::{Base, Keys};

/// What the owner says of the language model: `[prompts]`.
#[derive(Clone, Debug)]
pub struct ChatSettings {
    /// Where its API is: what OpenAI's clients call the base URL, such as `http://127.0.0.1:11434/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// The key for it, where it wants one.
    pub api_key: Option<Secret>,
    /// How long one prompt may take, waiting included.
    pub deadline: Duration,
    /// The longest answer, in the model's tokens.
    pub max_tokens: u32,
    /// What the model is told to do, in place of [`Chat::INSTRUCTION`].
    pub instruction: Option<String>,
}

/// The language model that makes prompts longer.
pub struct Chat {
    settings: ChatSettings,
    fetcher: Fetcher,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    places: Semaphore,
    kept: Mutex<Kept>,
    keys: Keys,
}

/// Prompts on their way at once; a model on this machine answers few at a time.
const AT_ONCE: usize = 8;

/// How much longer an exchange may take than anybody waits for it.
const GRACE: Duration = Duration::from_secs(1);

/// Room for an answer: a prompt, and what a server adds about itself.
const ANSWER_MAX: u64 = 1024 * 1024;

impl Chat {
    /// What the model is told, unless the owner says something else.
    pub const INSTRUCTION: &str = "You write prompts for a program that makes pictures from text. Turn what the user \
        writes into one vivid description of a picture: the subject, its surroundings, the composition, the light, the \
        colours and the style. Keep everything that the user asks for, and add nothing that contradicts it. Words in \
        quotation marks are to be written in the picture: repeat them letter by letter. Answer in English with the \
        description alone, without a heading or remarks, in at most 120 words.";

    /// With its settings checked. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// The name of a setting that cannot be used, and why.
    pub fn new(settings: ChatSettings) -> Result<Self, (&'static str, String)> {
        // the whole address is as good as its beginning
        let base = settings.url.trim().trim_end_matches('/');
        let base = Base::parse(base.strip_suffix(PATH).unwrap_or(base)).map_err(|reason| ("url", reason))?;
        if settings.model.trim().is_empty() {
            return Err(("model", "it is empty; give the name that the language model has there".to_owned()));
        }
        if settings.deadline.is_zero() {
            return Err(("deadline_s", "0 is not accepted; give seconds above 0".to_owned()));
        }
        if settings.max_tokens == 0 {
            return Err(("max_tokens", "0 would leave no room for an answer".to_owned()));
        }
        let mut headers = vec![(HeaderName::from_static("content-type"), HeaderValue::from_static("application/json"))];
        let keys = Keys::default();
        if let Some(key) = settings.api_key.as_ref().filter(|key| !key.is_empty()) {
            keys.add(key);
            let value = key.header("Bearer ");
            let value =
                value.ok_or_else(|| ("api_key", "it holds characters that a header cannot carry".to_owned()))?;
            headers.push((HeaderName::from_static("authorization"), value));
        }
        let fetcher = Fetcher::new(Config { allow_private: true, max_redirects: 0, ..Config::default() });
        let url = base.at(PATH).url;
        let kept = Mutex::new(Kept::default());
        Ok(Self { settings, fetcher, url, headers, places: Semaphore::new(AT_ONCE), kept, keys })
    }

    /// A longer prompt. The same one gets the same answer for as long as it is remembered.
    ///
    /// # Errors
    /// A sentence without keys and addresses, for the caller's log: the model did not answer, or with nothing that can be
    /// used.
    pub async fn longer(&self, prompt: &str) -> Result<String, String> {
        if let Some(known) = self.kept().get(prompt) {
            return Ok(known);
        }
        let deadline = Instant::now() + self.settings.deadline;
        let asked = timeout_at(deadline, self.ask(prompt)).await;
        let longer = asked.unwrap_or_else(|_| Err(self.too_late()))?;
        self.kept().put(prompt, &longer);
        Ok(longer)
    }

    async fn ask(&self, prompt: &str) -> Result<String, String> {
        let _place = self.places.acquire().await.map_err(|_| self.too_late())?;
        let instruction = self.settings.instruction.as_deref().unwrap_or(Self::INSTRUCTION);
        let body = json!({
            "model": self.settings.model,
            "max_tokens": self.settings.max_tokens,
            "messages": [{ "role": "system", "content": instruction }, { "role": "user", "content": prompt }],
        });
        // whoever waits for this gives up first, and says so
        let limits = Limits { bytes: ANSWER_MAX, time: self.settings.deadline + GRACE };
        let body = Bytes::from(body.to_string());
        let message = Message { method: Method::POST, url: &self.url, headers: &self.headers, body, limits };
        let reply = self.fetcher.send(message).await.map_err(|error| {
            tracing::warn!(%error, "the language model that makes prompts longer cannot be reached");
            "the language model cannot be reached".to_owned()
        })?;
        if reply.status != 200 {
            // a server may repeat the key that it was sent
            let words = self.keys.scrub(&String::from_utf8_lossy(&reply.body[..reply.body.len().min(500)]));
            tracing::warn!(status = reply.status, words, "the language model that makes prompts longer refuses");
            return Err(format!("the language model answers with status {}", reply.status));
        }
        answer::text(&reply.body)
    }

    fn too_late(&self) -> String {
        format!("the language model did not answer within {} s", self.settings.deadline.as_secs_f64())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PATH: &str = "/chat/completions";
