//! One call, one job or several: an endpoint makes so many pictures at once, and a caller may want more.

use axum::http::HeaderMap;
use futures::future::try_join_all;
use scumble_api::{ErrorAnswer, ErrorType, OpenAiCall};
use scumble_store::{JobId, Outcome};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::refused::Refused;
use super::said::{Picture, Said};
use crate::answer::Refusal;
use crate::state::AppState;
use crate::submit::{Beside, Call, Origin};
use crate::wait::Wait;
use crate::watch::{Watch, What};

/// A job of the call. It is cancelled when this goes before it has ended.
pub(super) struct Going {
    pub(super) id: JobId,
    pub(super) wait: Wait,
    pub(super) watch: Watch,
}

/// Puts every job into the queue. This goes on even if the caller goes away meanwhile, or a job could be accepted of
/// which nobody knows any more that it is to be cancelled.
pub(super) async fn start(
    from: Origin<'_>,
    call: &OpenAiCall,
    repeatable: Option<Value>,
    with_pictures: bool,
) -> Result<Vec<Going>, Refused> {
    let Origin { state, caller, authorized, headers } = from;
    let (state, caller, authorized, headers) = (state.clone(), caller.clone(), authorized.clone(), headers.clone());
    let call = call.clone();
    let task = tokio::spawn(async move {
        let from = Origin { state: &state, caller: &caller, authorized: &authorized, headers: &headers };
        put(from, &call, repeatable, with_pictures).await
    });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call could not be put into the queue");
        let answer = ErrorAnswer::typed(ErrorType::InternalError, "Internal Server Error");
        Err(Refusal::from(answer).into())
    })
}

/// The first job is admitted or refused as a direct call is; the others stand in line, where the limits for each key
/// hold them back.
async fn put(
    from: Origin<'_>,
    call: &OpenAiCall,
    repeatable: Option<Value>,
    with_pictures: bool,
) -> Result<Vec<Going>, Refused> {
    let state = from.state;
    let (what, stream) = match call.partials {
        Some(_) => (What::Anything, true),
        None => (What::End, false),
    };
    let mut going = Vec::with_capacity(call.inputs.len());
    for (part, input) in call.inputs.iter().enumerate() {
        let beside = Beside {
            encoding: call.encoding,
            clear_mask: with_pictures,
            like_picture: call.like_picture,
            said: repeatable.clone(),
            notes: if part == 0 { call.notes.clone() } else { Vec::new() },
            part,
        };
        let one = Call { stream, beside, ..Call::new(call.endpoint, input.clone()) };
        // from before the job exists, so that nothing about it can be missed
        let watch = state.watches.watch(one.id, what);
        let id = one.run(from).await?.job.id;
        let mut wait = Wait::new(state, id);
        if repeatable.is_some() {
            // the caller may come back for it
            wait.disarm();
        }
        // where it is the job of the first time
        let watch = if watch.id() == id { watch } else { state.watches.watch(id, what) };
        going.push(Going { id, wait, watch });
    }
    Ok(going)
}

/// The outcomes of all jobs, in order. The first that made nothing ends the call, and the others with it.
pub(super) async fn outcomes(state: &AppState, going: Vec<Going>) -> Result<Vec<Outcome>, Refused> {
    let one = |Going { id, wait, watch }: Going| async move {
        match wait.outcome(state, watch).await? {
            Some(outcome) if outcome.status < 400 => Ok(outcome),
            Some(outcome) => Err(Refused::outcome(id, outcome)),
            None => Err(Refused::gone(id)),
        }
    };
    try_join_all(going.into_iter().map(one)).await
}

/// What a repeated call has to say again, where its caller may repeat it: pictures by their digests, since each time
/// they get other addresses.
pub(super) fn repeatable(headers: &HeaderMap, said: &Said) -> Option<Value> {
    headers.get("idempotency-key")?;
    let digest = |picture: &Picture| match picture {
        Picture::At(url) => json!(url),
        Picture::Here { bytes, .. } => {
            let digest = Sha256::digest(bytes);
            digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
    };
    let pictures: Vec<Value> = said.pictures.iter().map(digest).collect();
    Some(json!({ "fields": said.fields, "pictures": pictures, "mask": said.mask.as_ref().map(digest) }))
}
