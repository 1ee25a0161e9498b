//! Pictures that callers give: from a URL, a data URI or a file of this server to pixels.
//!
//! Every step has a limit, and every failure becomes the problem that fal's clients know for it, at the field where the
//! caller can mend it.

mod clear;
mod decode;
mod given;
mod like;
mod read;

use std::sync::Arc;

use std::time::Duration;

use scumble_api::{FILE_SCHEME, Problem};
use scumble_fetch::{Budget, Fetcher};
use scumble_files::Files;
use scumble_pictures::Undecodable;
use scumble_store::{Clock, Store};

pub use decode::{InputImage, InputPixels};
pub use given::GivenPicture;
pub(crate) use given::cancelled;
pub(crate) use like::as_large_as_given;
use read::Unread;

use crate::adapters::Adapters;
use crate::config::{Config, FetchConfig};
use crate::work::Worker;

/// Reads pictures for callers. Cheap to clone.
#[derive(Clone)]
pub struct Inputs {
    /// What this server stores; none on the command line.
    shelf: Option<Shelf>,
    fetcher: Fetcher,
    /// What files and pixels draw on.
    memory: Budget,
    config: FetchConfig,
    /// The key of the caller, whose own files may be read.
    reader: Option<String>,
    /// Weights beside pictures.
    pub(crate) weights: Adapters,
}

/// Files of this server, and whose they are.
#[derive(Clone)]
struct Shelf {
    store: Arc<dyn Store>,
    files: Files,
    clock: Arc<dyn Clock>,
}

impl Inputs {
    /// On the store and files of a worker, for callers without a key.
    pub fn new(worker: &Worker) -> Self {
        let Config { fetch, memory, adapters, .. } = &worker.config;
        let shelf = Shelf { store: worker.store.clone(), files: worker.files.clone(), clock: worker.clock.clone() };
        Self { shelf: Some(shelf), ..Self::local(fetch.clone(), memory.clone(), adapters.clone()) }
    }

    /// For the owner's own command line, where pictures may be named by their paths too.
    pub fn local(config: FetchConfig, memory: Budget, weights: Adapters) -> Self {
        let fetch = scumble_fetch::Config { allow_private: config.allow_private, ..Default::default() };
        let fetcher = Fetcher::new(fetch).within(memory.clone());
        Self { shelf: None, fetcher, memory, config, reader: None, weights }
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
        let unread = |unread: Unread| unread.problem(loc, text);
        let bytes = self.read(text).await.map_err(unread)?;
        let max_pixels = self.config.max_pixels;
        let (file, copies) = (bytes.clone(), 2 * bytes.len() as u64);
        let head = self.aside(copies, move || scumble_pictures::head(&file, max_pixels)).await.map_err(unread)?;
        let cost = head.map_or(0, |head| head.cost());
        let decoded = self.aside(copies + cost, move || decode::decode(&bytes, max_pixels)).await.map_err(unread)?;
        decoded.map_err(|undecodable| decode::problem(&undecodable, loc, text))
    }

    /// Works on a picture on a thread that may, within the memory of the process.
    async fn aside<T: Send + 'static>(
        &self,
        bytes: u64,
        work: impl FnOnce() -> Result<T, Undecodable> + Send + 'static,
    ) -> Result<Result<T, Undecodable>, Unread> {
        let share = self.memory.take(bytes, ROOM).await.map_err(|_| Unread::Busy)?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(share);
            done
        });
        Ok(working.await.unwrap_or_else(|_| Err(Undecodable::Broken("its decoder failed".to_owned()))))
    }
}

/// How long a picture waits for room.
const ROOM: Duration = Duration::from_secs(5);

/// What was given, for the answer; data URIs are too long to be repeated, and what they became is nobody's business.
fn with_text(problem: Problem, text: &str) -> Problem {
    const LENGTH_MAX: usize = 2048;
    if text.len() <= LENGTH_MAX && !text.trim_start().starts_with("data:") && !text.starts_with(FILE_SCHEME) {
        return problem.given(&text.into());
    }
    problem
}
