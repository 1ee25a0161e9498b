//! Which file a reader gets, and what browsers and caches may do with it.

use axum::http::{HeaderName, header};
use scumble_files::FilePath;
use scumble_store::{Access, Decision, FileRecord};

use crate::answer::Refusal;
use crate::state::AppState;
use crate::uploads::Reader;

/// A file never changes under its path, so caches may keep it this long, in seconds.
const CACHED_S: i64 = 60 * 24 * 60 * 60;

/// For everything that not everybody may see.
const UNCACHED: &str = "private, no-store";

/// The row of a file that this reader may read. An expired file is gone, whether or not its bytes are still here.
pub(super) async fn readable(state: &AppState, reader: &Reader, path: &FilePath) -> Result<FileRecord, Refusal> {
    let row = living(state, path).await?;
    match reader.decision(&row) {
        Decision::Allow => Ok(row),
        Decision::Forbid => Err(forbidden("This file is not public: send the key of its owner, or use a signed URL")),
        Decision::Hide => Err(not_found()),
    }
}

/// The row of a file that has not expired.
pub(super) async fn living(state: &AppState, path: &FilePath) -> Result<FileRecord, Refusal> {
    let row = state.store.file(path.as_str()).await?.ok_or_else(not_found)?;
    if row.expires_ms.is_some_and(|at| at <= state.clock.now_ms()) { Err(not_found()) } else { Ok(row) }
}

/// Missing, expired, hidden: the reader cannot tell. Nor should a cache remember.
pub(super) fn not_found() -> Refusal {
    Refusal::plain(404, "File not found").with("cache-control", UNCACHED)
}

pub(super) fn forbidden(detail: &str) -> Refusal {
    Refusal::plain(403, detail).with("cache-control", UNCACHED)
}

/// The headers that say what may be done with a file.
pub(super) fn headers(row: &FileRecord, now_ms: i64) -> Vec<(HeaderName, String)> {
    let mut headers =
        vec![(header::CACHE_CONTROL, cache(row, now_ms)), (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned())];
    if !is_inert(&row.content_type) {
        headers.push((header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".to_owned()));
    }
    if !is_shown(&row.content_type) {
        headers.push((header::CONTENT_DISPOSITION, "attachment".to_owned()));
    }
    headers
}

/// Shared caches keep only what everybody may see, and nothing longer than it lives.
fn cache(row: &FileRecord, now_ms: i64) -> String {
    let Access { default, rules } = &row.access;
    if *default != Decision::Allow || rules.iter().any(|rule| rule.decision != Decision::Allow) {
        return UNCACHED.to_owned();
    }
    let left_s = row.expires_ms.map_or(CACHED_S, |at| at.saturating_sub(now_ms) / 1000);
    format!("public, max-age={}, immutable", left_s.clamp(0, CACHED_S))
}

/// Whether a browser that opens a file of this type runs nothing in it. Everything else is for a sandbox.
fn is_inert(content_type: &str) -> bool {
    // a PDF has a sandbox of its own, and does not show in this one
    is_medium(content_type) || essence(content_type) == "application/pdf"
}

/// Whether a browser shows a file of this type in place. What could hold a script, and what we do not know, it saves.
fn is_shown(content_type: &str) -> bool {
    is_medium(content_type) || essence(content_type) == "text/plain"
}

/// Pictures, sound and films, but for pictures that are documents.
fn is_medium(content_type: &str) -> bool {
    let essence = essence(content_type);
    let kind = essence.split('/').next().unwrap_or_default();
    matches!(kind, "image" | "audio" | "video") && !essence.ends_with("xml")
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_run_is_not_inert() {
        for inert in ["image/png", "IMAGE/PNG; x=y", "video/mp4", "audio/mpeg", "application/pdf"] {
            assert!(is_inert(inert), "{inert}");
            assert_eq!(is_shown(inert), inert != "application/pdf", "{inert}");
        }
        for running in [
            "image/svg+xml",
            "image/SVG+XML; charset=utf-8",
            "text/html",
            "text/xml",
            "application/xhtml+xml",
            "text/javascript",
            "multipart/mixed",
            "",
        ] {
            assert!(!is_inert(running), "{running}");
            assert!(!is_shown(running), "{running}");
        }
    }
}
