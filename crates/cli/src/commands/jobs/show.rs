//! `scumble jobs show`: all that is known about a job.

use std::fmt::Write;

use scumble_store::{
    DeliveryAttempt, DeliveryRecord, DeliveryState, Event, EventKind, Job, JobId, Outcome, Priority, Store,
};
use scumble_worker::makers;
use serde_json::{Value, json};

use super::list::seconds;
use super::table::table;
use crate::commands::time::iso;
use crate::failure::Failure;
use crate::out;
use crate::text::{self, cell};

pub(super) async fn show(store: &dyn Store, id: JobId, json: bool) -> Result<(), Failure> {
    let job = super::find(store, id).await?;
    let events = store.events(id, 0).await?;
    let deliveries = store.deliveries(id).await?;
    if json {
        return out::json(&as_json(&job, &events, &deliveries));
    }
    out::result(&as_text(&job, &events, &deliveries))
}

fn as_text(job: &Job, events: &[Event], deliveries: &[DeliveryRecord]) -> String {
    let mut text = table(&facts(job));
    let _ = writeln!(text, "\nInput\n{}", pretty(&job.input));
    match &job.outcome {
        Some(outcome) => {
            let _ = writeln!(text, "\nOutcome: {}\n{}", outcome.status, pretty(&outcome.body));
        }
        None => text.push_str("\nNo outcome yet\n"),
    }
    text.push_str("\nEvents\n");
    text.push_str(&table(&events.iter().map(event_row).collect::<Vec<_>>()));
    for delivery in deliveries {
        let state = delivery_word(delivery.state);
        let _ = writeln!(text, "\nWebhook {state}: {}", cell(&delivery.url, 2000));
        text.push_str(&table(&delivery.log.iter().map(attempt_row).collect::<Vec<_>>()));
    }
    text
}

fn facts(job: &Job) -> Vec<Vec<String>> {
    let inference = job.outcome.as_ref().and_then(|outcome| outcome.inference_ms);
    let facts = [
        ("id", Some(job.id.to_string())),
        ("endpoint", Some(cell(&job.endpoint, 200))),
        ("state", Some(job.state.to_string())),
        ("error", job.outcome.as_ref().and_then(|outcome| outcome.error.as_deref()).map(|e| cell(e, 500))),
        ("key", job.key_id.clone()),
        ("priority", Some(word(job.priority).to_owned())),
        ("attempts", Some(format!("{} ({} given back, {} crashed)", job.attempt, job.drained, job.crashes))),
        ("created", Some(iso(job.created_ms))),
        ("started", job.started_ms.map(iso)),
        ("finished", job.finished_ms.map(iso)),
        ("inference", inference.map(seconds)),
        ("cost", cost(job)),
        ("start by", job.start_by_ms.map(iso)),
        ("rests until", job.not_before_ms.map(iso)),
        ("cancel", job.cancel_requested.then(|| "requested".to_owned())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect()
}

/// What a maker asked for, where one made the pictures.
fn cost(job: &Job) -> Option<String> {
    let (maker, usd) = job.outcome.as_ref()?.paid()?;
    Some(format!("{} US dollars, to {}", cell(usd, 20), cell(maker, 20)))
}

fn pretty(value: &Value) -> String {
    text::json(&format!("{value:#}")).into_owned()
}

fn event_row(event: &Event) -> Vec<String> {
    let what = match &event.kind {
        EventKind::Log { level, message } => format!("{} {}", level.as_str(), cell(message, 500)),
        EventKind::Progress { stage, done, total } => format!("{} {done}/{total}", cell(stage, 60)),
        EventKind::Preview { .. } => "preview".to_owned(),
        EventKind::Submitted { maker, ticket } => {
            let ids = makers::maker_ids(ticket).join(", ");
            if ids.is_empty() { format!("sent to {maker}") } else { format!("with {maker}: {}", cell(&ids, 200)) }
        }
        EventKind::State { state, reason: None } => state.to_string(),
        EventKind::State { state, reason: Some(reason) } => format!("{state}: {}", cell(reason, 500)),
    };
    vec![iso(event.at_ms), format!("#{}", event.attempt), what]
}

fn attempt_row(attempt: &DeliveryAttempt) -> Vec<String> {
    let status = attempt.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let error = cell(attempt.error.as_deref().unwrap_or_default(), 200);
    vec![iso(attempt.at_ms), status, seconds(attempt.duration_ms), error]
}

fn as_json(job: &Job, events: &[Event], deliveries: &[DeliveryRecord]) -> Value {
    let Job {
        id,
        seq,
        endpoint,
        input,
        key_id,
        priority,
        start_by_ms,
        not_before_ms,
        webhook,
        hint,
        keep_io,
        options,
        state,
        attempt,
        drained,
        crashes,
        created_ms,
        started_ms,
        finished_ms,
        cancel_requested,
        outcome,
    } = job;
    json!({
        "id": id.to_string(), "seq": seq, "endpoint": endpoint, "state": state.as_str(), "key_id": key_id,
        "priority": word(*priority), "attempt": attempt, "drained": drained, "crashes": crashes,
        "created": iso(*created_ms), "started": started_ms.map(iso), "finished": finished_ms.map(iso),
        "start_by": start_by_ms.map(iso), "not_before": not_before_ms.map(iso), "cancel_requested": cancel_requested,
        "webhook": webhook, "hint": hint, "keep_io": keep_io, "options": options, "input": input,
        "outcome": outcome.as_ref().map(outcome_json),
        "events": events.iter().map(event_json).collect::<Vec<_>>(),
        "deliveries": deliveries.iter().map(delivery_json).collect::<Vec<_>>(),
    })
}

fn outcome_json(outcome: &Outcome) -> Value {
    let Outcome { status, body, headers, error, error_type, inference_ms } = outcome;
    json!({
        "status": status, "body": body, "headers": headers, "error": error, "error_type": error_type,
        "inference_ms": inference_ms,
    })
}

fn event_json(event: &Event) -> Value {
    let Event { seq, job_id: _, attempt, at_ms, kind } = event;
    let what = match kind {
        EventKind::Log { level, message } => json!({ "kind": "log", "level": level.as_str(), "message": message }),
        EventKind::Progress { stage, done, total } => {
            json!({ "kind": "progress", "stage": stage, "done": done, "total": total })
        }
        EventKind::Preview { image } => json!({ "kind": "preview", "image": image }),
        EventKind::Submitted { maker, ticket } => {
            json!({ "kind": "submitted", "maker": maker, "ids": makers::maker_ids(ticket) })
        }
        EventKind::State { state, reason } => json!({ "kind": "state", "state": state.as_str(), "reason": reason }),
    };
    json!({ "seq": seq, "attempt": attempt, "at": iso(*at_ms), "event": what })
}

fn delivery_json(delivery: &DeliveryRecord) -> Value {
    let DeliveryRecord { id, url, state, next_ms, log } = delivery;
    let attempt = |attempt: &DeliveryAttempt| {
        let DeliveryAttempt { at_ms, duration_ms, status, error } = attempt;
        json!({ "at": iso(*at_ms), "duration_ms": duration_ms, "status": status, "error": error })
    };
    json!({
        "id": id, "url": url, "state": delivery_word(*state), "next": next_ms.map(iso),
        "attempts": log.iter().map(attempt).collect::<Vec<_>>(),
    })
}

pub(super) fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}

fn delivery_word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Failed => "failed",
    }
}
