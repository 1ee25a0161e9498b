//! Bytes on their way in.
//!
//! Clients repeat what was not answered, so everything here may be done twice: the first file that is complete under a
//! path stays, and whoever brings it again is told that it is there.

use std::collections::HashMap;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use scumble_api::{CompleteUpload, UploadPart};
use scumble_files::{FilePath, FileWriter, Part};
use scumble_store::FileRecord;

use super::token::Ticket;
use super::{PART_BYTES_MAX, PARTS_MAX};
use crate::answer::Refusal;
use crate::state::AppState;

/// Takes a whole file. One that is here already is not replaced: the bytes are read and thrown away.
pub(crate) async fn whole(
    state: &AppState,
    ticket: &Ticket,
    path: &FilePath,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Refusal> {
    let limit = state.config.upload_bytes;
    check_announced(headers, limit)?;
    state.room()?;
    if state.store.file(path.as_str()).await?.is_some() {
        return discard(body).await;
    }
    let mut file = state.files.writer(path, limit);
    receive(body, &mut file).await?;
    let bytes = file.finish().await?;
    record(state, ticket, path, bytes).await
}

/// Takes one part of a file.
pub(crate) async fn part(
    state: &AppState,
    path: &FilePath,
    number: u32,
    headers: &HeaderMap,
    body: Body,
) -> Result<UploadPart, Refusal> {
    if !(1..=PARTS_MAX).contains(&number) {
        return Err(Refusal::plain(422, &format!("Parts are numbered from 1 to {PARTS_MAX}")));
    }
    state.room()?;
    // a part may be sent twice, but nobody fills the disk with parts that will never fit together
    let allowed = state.config.upload_bytes;
    let stored: u64 = state.files.parts(path).await?.iter().map(|part| part.bytes).sum();
    let limit = PART_BYTES_MAX.min(allowed).min(allowed.saturating_mul(2).saturating_sub(stored));
    check_announced(headers, limit)?;
    let mut part = state.files.part_writer(path, number, limit)?;
    receive(body, part.writer()).await?;
    let Part { number, tag, bytes: _ } = part.finish().await?;
    Ok(UploadPart { part_number: number, etag: tag })
}

/// Joins the parts of a list to a file, whatever the order of the list.
pub(crate) async fn complete(
    state: &AppState,
    ticket: &Ticket,
    path: &FilePath,
    list: &CompleteUpload,
) -> Result<(), Refusal> {
    if state.store.file(path.as_str()).await?.is_none() {
        let parts = meant(&list.parts, state.files.parts(path).await?)?;
        let limit = state.config.upload_bytes;
        if parts.iter().map(|part| part.bytes).sum::<u64>() > limit {
            return Err(scumble_files::Error::TooLarge { limit }.into());
        }
        match state.files.join(path, &parts).await {
            Ok(bytes) => record(state, ticket, path, bytes).await?,
            // somebody else has completed it in the meantime
            Err(scumble_files::Error::NotFound(_)) if state.store.file(path.as_str()).await?.is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if let Err(error) = state.files.forget_parts(path).await {
        tracing::warn!(file.path = %path, %error, "the parts of a complete file stay behind for a day");
    }
    Ok(())
}

/// The stored parts that a list means, by number.
pub(crate) fn meant(list: &[UploadPart], stored: Vec<Part>) -> Result<Vec<Part>, Refusal> {
    if list.is_empty() {
        return Err(Refusal::plain(400, "The list of parts is empty"));
    }
    let mut stored: HashMap<(u32, String), Part> =
        stored.into_iter().map(|part| ((part.number, part.tag.clone()), part)).collect();
    let mut parts = Vec::with_capacity(list.len());
    for UploadPart { part_number, etag } in list {
        // in headers etags have quotes, and some clients keep them
        let part = stored.remove(&(*part_number, etag.trim_matches('"').to_owned()));
        parts.push(part.ok_or_else(|| {
            Refusal::plain(
                400,
                &format!("Part {part_number} is not here under this etag, or was listed twice; send it again"),
            )
        })?);
    }
    parts.sort_by_key(|part| part.number);
    if parts.windows(2).any(|pair| matches!(pair, [a, b] if a.number == b.number)) {
        return Err(Refusal::plain(400, "The list has two parts of the same number"));
    }
    Ok(parts)
}

/// Writes the row of a file whose bytes are durable.
async fn record(state: &AppState, ticket: &Ticket, path: &FilePath, bytes: u64) -> Result<(), Refusal> {
    let Ticket { path: _, content_type, owner, lifecycle } = ticket.clone();
    let now_ms = state.clock.now_ms();
    let row = FileRecord {
        path: path.to_string(),
        job_id: None,
        content_type,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        created_ms: now_ms,
        expires_ms: lifecycle.expires_ms(now_ms),
        owner,
        access: lifecycle.initial_acl.map(Into::into).unwrap_or_default(),
    };
    match state.store.put_file(row).await {
        // the same upload, twice at once
        Ok(()) | Err(scumble_store::Error::FileExists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a body as it comes.
async fn receive(body: Body, file: &mut FileWriter) -> Result<(), Refusal> {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        file.write(piece.map_err(|_| cut_short())?).await?;
    }
    Ok(())
}

async fn discard(body: Body) -> Result<(), Refusal> {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        piece.map_err(|_| cut_short())?;
    }
    Ok(())
}

/// Refuses a body that says of itself that it is too large, before it is sent.
fn check_announced(headers: &HeaderMap, limit: u64) -> Result<(), Refusal> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > limit => Err(scumble_files::Error::TooLarge { limit }.into()),
        _ => Ok(()),
    }
}

fn cut_short() -> Refusal {
    Refusal::plain(400, "The upload ended before all of its bytes were here")
}
