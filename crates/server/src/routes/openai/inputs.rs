//! The caller's pictures as files of this server, so that several jobs share them and no row holds them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use scumble_files::{FilePath, Files};
use scumble_store::{Access, Decision, FileRecord, Store};

use super::refused::Refused;
use super::said::{Picture, Said};
use crate::addressing::{Caller, Service};
use crate::state::AppState;
use crate::submit::Origin;

/// How long they are kept: for the jobs, and for who looks at them afterwards.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Pictures and mask by their addresses. The files are removed again unless a job uses them.
pub(super) struct Inputs {
    pub(super) pictures: Vec<String>,
    pub(super) mask: Option<String>,
    kept: Kept,
}

impl Inputs {
    /// Stores what is not stored yet, for the caller.
    pub(super) async fn keep(from: Origin<'_>, said: Said) -> Result<Self, Refused> {
        let Said { pictures, mask, .. } = said;
        let kept = Kept { store: from.state.store.clone(), files: from.state.files.clone(), paths: Vec::new() };
        let mut inputs = Self { pictures: Vec::new(), mask: None, kept };
        for picture in pictures {
            let url = inputs.url(from, picture, "image").await?;
            inputs.pictures.push(url);
        }
        if let Some(mask) = mask {
            inputs.mask = Some(inputs.url(from, mask, "mask").await?);
        }
        Ok(inputs)
    }

    /// A job has them now.
    pub(super) fn are_used(mut self) {
        self.kept.paths.clear();
    }

    async fn url(&mut self, from: Origin<'_>, picture: Picture, name: &str) -> Result<String, Refused> {
        match picture {
            Picture::At(url) => Ok(url),
            Picture::Here { bytes, content_type } => {
                let owner = from.authorized.key_id.clone();
                let path = self.kept.put(from.state, owner, bytes, content_type, name).await?;
                Ok(address(from.caller, &path))
            }
        }
    }
}

fn address(caller: &Caller, path: &FilePath) -> String {
    caller.url(Service::Cdn, &format!("/files/{path}"))
}

/// Files that are removed when this goes, because nobody needs them.
struct Kept {
    store: Arc<dyn Store>,
    files: Files,
    paths: Vec<FilePath>,
}

impl Kept {
    async fn put(
        &mut self,
        state: &AppState,
        owner: Option<String>,
        bytes: Bytes,
        content_type: &'static str,
        name: &str,
    ) -> Result<FilePath, Refused> {
        let stored = self.files.put(bytes, content_type, name).await?;
        self.paths.push(stored.path.clone());
        let now_ms = state.clock.now_ms();
        // without keys there is nobody to tell from others, and nobody guesses a path
        let default = if owner.is_some() { Decision::Hide } else { Decision::Allow };
        let row = FileRecord {
            path: stored.path.to_string(),
            job_id: None,
            content_type: content_type.to_owned(),
            bytes: i64::try_from(stored.bytes).unwrap_or(i64::MAX),
            created_ms: now_ms,
            expires_ms: Some(now_ms.saturating_add(i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX))),
            owner,
            access: Access { default, rules: Vec::new() },
        };
        self.store.put_file(row).await?;
        Ok(stored.path)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let paths = std::mem::take(&mut self.paths);
        if paths.is_empty() {
            return;
        }
        let (store, files) = (self.store.clone(), self.files.clone());
        tokio::spawn(async move {
            for path in paths {
                // bytes first: a row that stays is removed when it expires
                let removed = match files.delete(&path).await {
                    Ok(()) => store.forget_file(path.as_str()).await.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = removed {
                    tracing::warn!(file.path = %path, error, "a picture of a refused call stays for a day");
                }
            }
        });
    }
}
