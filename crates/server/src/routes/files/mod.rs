//! Files, whole or in ranges, for those who may read them.

mod access;
mod sign;
mod validators;

use std::ops::Range;

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use scumble_files::FilePath;
use scumble_store::FileRecord;

use self::access::{not_found, readable};
use super::uploads::complete_parts;
use crate::addressing::Caller;
use crate::answer::Refusal;
use crate::state::AppState;
use crate::uploads::{Reader, Uploader};

/// `POST /cdn/files/{path}/sign`, or the end of an upload in parts.
pub(super) async fn post(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, body) = request.into_parts();
    if let Some(path) = path.strip_suffix("/sign") {
        let path: FilePath = path.parse().map_err(|_| not_found())?;
        let reader = Reader::from_request_parts(&mut parts, &state).await?;
        return sign::sign(&state, &caller, &reader, &path, body).await;
    }
    let uploader = Uploader::from_request_parts(&mut parts, &state).await?;
    complete_parts(&state, &caller, &uploader, &path, body).await
}

/// `GET /cdn/files/{path}`. Nothing here is ever interpreted: browsers are told not to guess.
pub(super) async fn read(
    State(state): State<AppState>,
    Path(path): Path<String>,
    reader: Reader,
    (method, headers): (Method, HeaderMap),
) -> Result<Response, Refusal> {
    let path: FilePath = path.parse().map_err(|_| not_found())?;
    let row = readable(&state, &reader, &path).await?;
    let tag = validators::tag(&row);
    let mut response = if validators::is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let may_be_ranged = method == Method::GET && validators::may_be_ranged(&headers, &tag);
        let range = headers.get(header::RANGE).filter(|_| may_be_ranged).and_then(|range| range.to_str().ok());
        bytes(&state, &path, &row, range.and_then(|range| parse_range(range, row.bytes))).await?
    };
    let about = access::headers(&row, state.clock.now_ms());
    for (name, value) in about.into_iter().chain([(header::ETAG, tag)]) {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A file, or the part of it that was asked for.
async fn bytes(
    state: &AppState,
    path: &FilePath,
    row: &FileRecord,
    range: Option<Range<u64>>,
) -> Result<Response, Refusal> {
    let is_partial = range.is_some();
    let file = match state.files.get(path, range).await {
        Ok(file) => file,
        Err(scumble_files::Error::NotFound(_)) => return Err(not_found()),
        Err(scumble_files::Error::BadRange { size, .. }) => {
            let detail = format!("Range: this file has {size} bytes, and none where the range begins");
            return Err(Refusal::plain(416, &detail).with("content-range", &format!("bytes */{size}")));
        }
        Err(error) => return Err(error.into()),
    };
    let Range { start, end } = file.range;
    let mut response = Response::new(Body::from_stream(file.stream));
    let headers = [
        (header::CONTENT_TYPE, row.content_type.clone()),
        (header::CONTENT_LENGTH, (end - start).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let part = is_partial.then(|| (header::CONTENT_RANGE, format!("bytes {start}-{}/{}", end.max(1) - 1, file.size)));
    if is_partial {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    for (name, value) in headers.into_iter().chain(part) {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// One range of bytes (RFC 9110, 14.1.2). Several ranges and other units mean the whole file, as the RFC allows; a
/// range that cannot be satisfied is left for the file store to refuse.
pub(crate) fn parse_range(text: &str, size: i64) -> Option<Range<u64>> {
    let size = u64::try_from(size).ok()?;
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    if last.contains(',') {
        return None;
    }
    match (first.trim(), last.trim()) {
        ("", suffix) => {
            let count: u64 = suffix.parse().ok()?;
            // an empty suffix cannot be satisfied; a long one is the whole file
            Some(if count == 0 { size..size } else { size.saturating_sub(count)..size })
        }
        (first, "") => Some(first.parse().ok()?..u64::MAX),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then(|| first..last.saturating_add(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_the_rfc_writes_them() {
        let check = |text: &str, expected: Option<Range<u64>>| assert_eq!(parse_range(text, 100), expected, "{text}");
        check("bytes=0-9", Some(0..10));
        check("bytes=50-", Some(50..u64::MAX));
        check("bytes=-10", Some(90..100));
        check("bytes=-500", Some(0..100));
        check("bytes=-0", Some(100..100));
        for whole in ["bytes=5-1", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=", "bytes=18446744073709551616-"] {
            check(whole, None);
        }
    }
}
