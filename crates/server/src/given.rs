//! Pictures and weights that come inside an input, as data URIs: they become files of the job, so that its row stays small.
//!
//! In the stored input the name of the file stands where the picture was. Nobody else can name a file like that: what a
//! caller writes in this form is refused, as any address that nobody can open.

use axum::body::Bytes;
use scumble_api::{ErrorAnswer, FILE_SCHEME, Input, Problem};
use scumble_fetch::Source;
use scumble_files::{FilePath, Files};
use scumble_store::{Access, Admission, Decision, Enqueued, Error, FileRecord, NewJob};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::answer::Refusal;
use crate::state::AppState;
use crate::wait;

/// What the files are called.
const NAME: &str = "input";

/// Longest address that is kept in a row.
const ADDRESS_BYTES: usize = 32 * 1024;

/// An input as it is stored, and the files that it refers to.
pub(crate) struct Given {
    pub(crate) input: Value,
    /// New ones, and those of the job that this one is a copy of.
    pub(crate) files: Vec<FileRecord>,
    pub(crate) stored: Stored,
}

/// Files that are stored and belong to no job yet: deleted when this goes, unless a job has them.
pub(crate) struct Stored {
    files: Files,
    paths: Vec<FilePath>,
}

/// Why an input cannot be stored.
pub(crate) enum Refused {
    /// Its pictures are none.
    Invalid(Vec<Problem>),
    /// The files cannot be written.
    Failed(Refusal),
}

impl Given {
    /// Stores the pictures and weights of an input for the owner of this key. What is named as a file has to be one of
    /// the `copied`.
    pub(crate) async fn keep(
        state: &AppState,
        input: &Input,
        owner: Option<&str>,
        copied: Vec<FileRecord>,
    ) -> Result<Self, Refused> {
        let stored = Stored { files: state.files.clone(), paths: Vec::new() };
        let mut given = Self { input: input.to_json(), files: copied, stored };
        let mut problems = Vec::new();
        let weights = input.weights().into_iter().map(|weights| (weights.path, weights.source));
        for (path, url) in input.pictures().into_iter().map(|picture| (picture.path, picture.url)).chain(weights) {
            let loc: Vec<&str> = path.iter().map(String::as_str).collect();
            let unread = |reason: scumble_fetch::Error| {
                Problem::new(&loc, "file_download_error", format!("Failed to read the file: {reason}"))
            };
            match url.strip_prefix(FILE_SCHEME) {
                Some(path) if given.files.iter().any(|file| file.path == path) => {}
                Some(_) => {
                    let scheme = FILE_SCHEME.trim_end_matches(':').to_owned();
                    let problem = unread(scumble_fetch::Error::Scheme { scheme });
                    problems.push(problem.given(&url.as_str().into()));
                }
                None => match decoded(&url) {
                    Ok(None) => {}
                    Ok(Some((content_type, bytes))) => {
                        let name = given.store(state, bytes, content_type, owner).await.map_err(Refused::Failed)?;
                        if let Some(place) = given.input.pointer_mut(&format!("/{}", path.join("/"))) {
                            *place = name.into();
                        }
                    }
                    Err(error) => problems.push(unread(error)),
                },
            }
        }
        if problems.is_empty() { Ok(given) } else { Err(Refused::Invalid(problems)) }
    }

    /// Stores one file; what stands for it in the input.
    async fn store(
        &mut self,
        state: &AppState,
        bytes: Bytes,
        content_type: &str,
        owner: Option<&str>,
    ) -> Result<String, Refusal> {
        let file = state.files.put(bytes, content_type, NAME).await?;
        let name = format!("{FILE_SCHEME}{}", file.path);
        // without keys there is nobody to tell from others, and nobody guesses a path
        let default = if owner.is_some() { Decision::Hide } else { Decision::Allow };
        self.files.push(FileRecord {
            path: file.path.to_string(),
            job_id: None,
            content_type: file.content_type,
            bytes: i64::try_from(file.bytes).unwrap_or(i64::MAX),
            created_ms: state.clock.now_ms(),
            expires_ms: None,
            owner: owner.map(str::to_owned),
            access: Access { default, rules: Vec::new() },
        });
        self.stored.paths.push(file.path);
        Ok(name)
    }
}

/// What is in a data URI, with a content type that browsers do nothing with but show it. `None` for other text.
fn decoded(text: &str) -> Result<Option<(&str, Bytes)>, scumble_fetch::Error> {
    match Source::parse(text) {
        Ok(Source::Data(data)) => {
            let kind = data.content_type.split(';').next().unwrap_or_default().trim();
            let is_picture = kind.starts_with("image/") && kind != "image/svg+xml" && kind.is_ascii();
            let kind = if is_picture { kind } else { "application/octet-stream" };
            Ok(Some((kind, data.decode(u64::MAX)?)))
        }
        Err(error @ scumble_fetch::Error::Data { .. }) => Err(error),
        Ok(Source::Url(_)) | Err(_) if text.len() > ADDRESS_BYTES => {
            Err(scumble_fetch::Error::Malformed { reason: format!("it has {} bytes", text.len()) })
        }
        // whoever runs the job says what is wrong with other text
        Ok(Source::Url(_)) | Err(_) => Ok(None),
    }
}

/// Accepts a job; its files stay if that goes well.
pub(crate) async fn enqueue(
    state: &AppState,
    job: NewJob,
    admission: Admission,
    stored: Stored,
) -> scumble_store::Result<Enqueued> {
    if stored.paths.is_empty() {
        return state.store.enqueue(job, admission).await;
    }
    let (reply, answer) = oneshot::channel();
    let state = state.clone();
    // a task of its own: whether the files are needed is known when the job is written, caller or not
    tokio::spawn(async move {
        let (id, quiet) = (job.id, admission.quiet);
        let enqueued = state.store.enqueue(job, admission).await;
        if matches!(enqueued, Ok(Enqueued::New { .. }) | Err(Error::NoAnswer(_))) {
            stored.belongs_to_a_job();
        }
        // the caller of a direct call hung up before there was anything to wait for
        if reply.send(enqueued).is_err() && quiet {
            wait::cancel(state, id).await;
        }
    });
    answer.await.map_err(|_| Error::Closed)?
}

impl Stored {
    fn belongs_to_a_job(mut self) {
        self.paths.clear();
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if self.paths.is_empty() {
            return;
        }
        let (files, paths) = (self.files.clone(), std::mem::take(&mut self.paths));
        tokio::spawn(async move {
            for path in paths {
                if let Err(error) = files.delete(&path).await {
                    tracing::warn!(%path, %error, "a picture of a request that was not accepted stays behind");
                }
            }
        });
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(problems) => ErrorAnswer::invalid(&problems).into(),
            Refused::Failed(refusal) => refusal,
        }
    }
}
