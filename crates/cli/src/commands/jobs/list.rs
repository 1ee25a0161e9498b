//! `scumble jobs list`.

use scumble_store::{JobFilter, JobSummary, Store};
use serde_json::{Value, json};

use super::table::table;
use crate::args::JobsList;
use crate::commands::time::iso;
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::text::cell;

pub(super) async fn list(store: &dyn Store, args: &JobsList) -> Result<(), Failure> {
    let filter = JobFilter {
        endpoint: args.endpoint.clone(),
        state: args.state,
        key_id: args.key.clone(),
        before: args.before,
        limit: args.limit,
    };
    let jobs = store.recent(&filter).await?;
    if args.json {
        return out::json(&Value::from_iter(jobs.iter().map(as_json)));
    }
    if jobs.is_empty() {
        let unknown = args.endpoint.as_ref().filter(|id| scumble_api::find(id).is_none());
        let why = unknown.map_or_else(String::new, |id| format!(": {}", meant::no_endpoint(id)));
        out::say(&format!("There are no such jobs{why}."));
        return Ok(());
    }
    let head = ["ID", "ENDPOINT", "STATE", "STATUS", "TRIES", "CREATED", "TOOK", "ERROR"].map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(jobs.iter().map(as_row)).collect();
    out::result(&table(&rows))?;
    if jobs.len() == args.limit as usize
        && let Some(last) = jobs.last()
    {
        out::say(&format!("Older ones: --before {}", last.seq));
    }
    Ok(())
}

fn as_row(job: &JobSummary) -> Vec<String> {
    let took = job.started_ms.zip(job.finished_ms).map_or(String::new(), |(from, to)| seconds(to - from));
    vec![
        job.id.to_string(),
        cell(&job.endpoint, 60),
        job.state.to_string(),
        job.status.map_or(String::new(), |status| status.to_string()),
        job.attempt.to_string(),
        iso(job.created_ms),
        took,
        cell(job.error.as_deref().unwrap_or_default(), 60),
    ]
}

/// `1.2 s`.
pub(super) fn seconds(ms: i64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

fn as_json(job: &JobSummary) -> Value {
    let JobSummary {
        id,
        seq,
        endpoint,
        key_id,
        priority,
        state,
        attempt,
        created_ms,
        started_ms,
        finished_ms,
        status,
        error,
        error_type,
        inference_ms,
    } = job;
    json!({
        "id": id.to_string(), "seq": seq, "endpoint": endpoint, "key_id": key_id,
        "priority": super::show::word(*priority), "state": state.as_str(), "attempt": attempt,
        "created": iso(*created_ms), "started": started_ms.map(iso), "finished": finished_ms.map(iso),
        "status": status, "error": error, "error_type": error_type, "inference_ms": inference_ms,
    })
}
