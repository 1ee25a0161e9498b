//! Pictures that callers give: from a URL, a data URI or a file of this server to pixels.
//!
//! Every step has a limit, and every failure becomes the problem that fal's clients know for it, at the field where the
//! caller can mend it.

mod decode;
mod given;
mod read;

use std::sync::Arc;

use scumble_api::{FILE_SCHEME, Problem};
use scumble_fetch::Fetcher;
use scumble_files::Files;
use scumble_store::{Clock, Store};

pub use decode::{InputImage, InputPixels};
pub use given::GivenPicture;

use crate::config::FetchConfig;
use crate::work::Worker;

/// Reads pictures for callers. Cheap to clone.
#[derive(Clone)]
pub struct Inputs {
    store: Arc<dyn Store>,
    files: Files,
    clock: Arc<dyn Clock>,
    fetcher: Fetcher,
    config: FetchConfig,
    /// The key of the caller, whose own files may be read.
    reader: Option<String>,
}

impl Inputs {
    /// On the store and files of a worker, for callers without a key.
    pub fn new(worker: &Worker) -> Self {
        let config = worker.config.fetch.clone();
        let fetch = scumble_fetch::Config { allow_private: config.allow_private, ..Default::default() };
        Self {
            store: worker.store.clone(),
            files: worker.files.clone(),
            clock: worker.clock.clone(),
            fetcher: Fetcher::new(fetch),
            config,
            reader: None,
        }
    }

    /// The same for the caller who used this key.
    #[must_use]
    pub fn of(&self, key_id: Option<&str>) -> Self {
        Self { reader: key_id.map(str::to_owned), ..self.clone() }
    }

    /// The picture that `text`, given at `body.<loc>`, names.
    ///
    /// # Errors
    /// What keeps it from being one: `file_download_error`, `file_too_large`, `image_load_error`,
    /// `unsupported_image_format`, `image_too_large`.
    pub async fn image(&self, loc: &[&str], text: &str) -> Result<InputImage, Problem> {
        let bytes = self.read(text).await.map_err(|unread| unread.problem(loc, text))?;
        let max_pixels = self.config.max_pixels;
        let decoded = tokio::task::spawn_blocking(move || decode::decode(&bytes, max_pixels)).await;
        let decoded = decoded.unwrap_or_else(|_| Err(decode::Undecodable::Broken("its decoder failed".to_owned())));
        decoded.map_err(|undecodable| undecodable.problem(loc, text))
    }
}

/// What was given, for the answer; data URIs are too long to be repeated, and what they became is nobody's business.
fn with_text(problem: Problem, text: &str) -> Problem {
    const LENGTH_MAX: usize = 2048;
    if text.len() <= LENGTH_MAX && !text.trim_start().starts_with("data:") && !text.starts_with(FILE_SCHEME) {
        return problem.given(&text.into());
    }
    problem
}
