//! `scumble jobs`: the database, looked at directly, with the server up or down.

mod list;
mod show;
mod table;

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_store::{Admission, Cancel, Enqueued, Job, JobId, NewJob, Outcome, Store};
use serde_json::json;

use crate::args::{Jobs, JobsCommand};
use crate::failure::Failure;
use crate::out;
use crate::settings::{Place, open_existing, runtime};

/// One command on the database, then closes it.
pub(crate) fn jobs(args: &Jobs) -> Result<(), Failure> {
    let place = match &args.command {
        JobsCommand::List(list) => &list.place,
        JobsCommand::Show(one) | JobsCommand::Cancel(one) | JobsCommand::Retry(one) | JobsCommand::Redeliver(one) => {
            &one.place
        }
    };
    let database = Place::of(place)?.database;
    crate::private::close_new_files();
    runtime()?.block_on(async {
        let store = open_existing(&database).await?;
        let done = match &args.command {
            JobsCommand::List(list) => list::list(&*store, list).await,
            JobsCommand::Show(one) => show::show(&*store, one.id, one.json).await,
            JobsCommand::Cancel(one) => cancel(&*store, one.id, one.json).await,
            JobsCommand::Retry(one) => retry(&*store, one.id, one.json).await,
            JobsCommand::Redeliver(one) => redeliver(&*store, one.id, one.json).await,
        };
        store.close().await;
        done
    })
}

async fn find(store: &dyn Store, id: JobId) -> Result<Job, Failure> {
    store.job(id).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: JobId) -> Failure {
    Failure::Usage(format!("there is no job {id}; `scumble jobs list` shows them"))
}

async fn cancel(store: &dyn Store, id: JobId, json: bool) -> Result<(), Failure> {
    let answer = ErrorAnswer::typed(ErrorType::ClientCancelled, "The request was cancelled by the owner of the server");
    let outcome = Outcome {
        status: answer.status,
        body: answer.body.clone(),
        headers: answer.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        error: Some(answer.message()),
        error_type: answer.body["error_type"].as_str().map(str::to_owned),
        inference_ms: None,
    };
    match store.cancel(id, outcome).await? {
        Cancel::Removed => say(json, "cancelled", id, "is cancelled; it had not started"),
        Cancel::Requested => say(json, "requested", id, "is running; its worker is told to stop"),
        Cancel::AlreadyEnded => Err(Failure::Usage(format!("job {id} has ended already"))),
        Cancel::Unknown => Err(unknown(id)),
    }
}

/// The copy is a job of its own: the old one keeps its outcome. It starts when it starts, so the old deadline is gone.
async fn retry(store: &dyn Store, id: JobId, json: bool) -> Result<(), Failure> {
    let Job { endpoint, input, key_id, priority, webhook, hint, keep_io, options, .. } = find(store, id).await?;
    let given = store.given_files(id).await?;
    let copy = NewJob { key_id, priority, webhook, hint, keep_io, options, given, ..NewJob::new(endpoint, input) };
    match store.enqueue(copy, Admission::default()).await? {
        Enqueued::New { job, position } => {
            print_id(json, job.id, id)?;
            out::say(&format!("Queued as {}, {}.", job.id, place_in_line(position)));
            Ok(())
        }
        other => Err(Failure::Failed(format!("the copy was not accepted: {other:?}"))),
    }
}

fn place_in_line(before: u64) -> String {
    match before {
        0 => "next in line".to_owned(),
        1 => "behind one other".to_owned(),
        n => format!("behind {n} others"),
    }
}

fn print_id(json: bool, new: JobId, old: JobId) -> Result<(), Failure> {
    if json {
        return out::json(&json!({ "id": new.to_string(), "retry_of": old.to_string() }));
    }
    out::result(&new.to_string())
}

async fn redeliver(store: &dyn Store, id: JobId, json: bool) -> Result<(), Failure> {
    let job = find(store, id).await?;
    if store.redeliver(id).await? {
        return say(json, "pending", id, "will have its webhook delivered once more, by the next worker");
    }
    Err(Failure::Usage(match job.webhook {
        None => format!("job {id} has no webhook"),
        Some(_) => format!("job {id} has not ended; its webhook is delivered when it does"),
    }))
}

fn say(json: bool, what: &str, id: JobId, words: &str) -> Result<(), Failure> {
    if json {
        return out::json(&json!({ "id": id.to_string(), "result": what }));
    }
    out::say(&format!("Job {id} {words}."));
    Ok(())
}
