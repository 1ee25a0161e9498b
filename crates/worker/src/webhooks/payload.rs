//! What a webhook says: the body that the result call would give.

use scumble_api::{Delivered, WebhookBody, own_files};
use scumble_files::Files;
use scumble_store::{Job, Outcome};
use serde_json::Value;

/// The body of a job's webhook. An output that cannot be given any more is said to be so.
///
/// # Errors
/// Files that cannot be read now; they are there, so trying again helps.
pub(super) async fn body(job: &Job, outcome: &Outcome, files: &Files) -> Result<WebhookBody, scumble_files::Error> {
    let mut output = outcome.body.clone();
    // an error repeats what the caller wrote, and has no files
    let resolved = if outcome.status < 400 { resolve(&mut output, job, files).await } else { Ok(()) };
    let payload = match resolved {
        Ok(()) => Ok(output),
        Err(Unresolved::Gone(reason)) => Err(reason),
        Err(Unresolved::Files(error)) => return Err(error),
    };
    Ok(WebhookBody::new(&job.id.to_string(), outcome.status, payload))
}

enum Unresolved {
    /// For good.
    Gone(String),
    /// For now.
    Files(scumble_files::Error),
}

/// Puts what the receiver can use in the place of every file of ours: a URL at the address that the caller used, or a
/// data URI.
async fn resolve(output: &mut Value, job: &Job, files: &Files) -> Result<(), Unresolved> {
    for file in own_files(output) {
        *file.place = match file.delivered {
            Delivered::AsUrl => {
                let base = job.options["base_urls"]["cdn"].as_str();
                let base = base.ok_or_else(|| Unresolved::Gone("the address of the files was not recorded".into()))?;
                format!("{base}/files/{}", file.path)
            }
            Delivered::Inline => inline(&file.path, files).await?,
        };
    }
    Ok(())
}

async fn inline(path: &str, files: &Files) -> Result<String, Unresolved> {
    let gone = || Unresolved::Gone("a file of the output is no longer kept".to_owned());
    match files.data_uri(&path.parse().map_err(|_| gone())?).await {
        Ok(uri) => Ok(uri),
        Err(scumble_files::Error::NotFound(_)) => Err(gone()),
        Err(error) => Err(Unresolved::Files(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn outcome(status: u16, body: Value) -> Outcome {
        Outcome { status, body, headers: BTreeMap::new(), error: None, error_type: None, inference_ms: None }
    }

    fn job(options: Value) -> Job {
        Job {
            id: scumble_store::JobId::random(),
            seq: 1,
            endpoint: "a/b".into(),
            input: Value::Null,
            key_id: None,
            priority: scumble_store::Priority::Normal,
            start_by_ms: None,
            not_before_ms: None,
            webhook: None,
            hint: None,
            keep_io: true,
            options,
            state: scumble_store::State::Done,
            attempt: 1,
            drained: 0,
            crashes: 0,
            created_ms: 0,
            started_ms: None,
            finished_ms: None,
            cancel_requested: false,
            outcome: None,
        }
    }

    #[tokio::test]
    async fn files_are_given_as_the_caller_can_use_them() {
        let files = Files::open("memory:").expect("memory");
        let stored = files.put("pixels".into(), "image/png", "a.png").await.expect("a file");
        let output = json!({ "images": [{ "url": format!("scumble-file:{}", stored.path) }],
                             "mask": { "url": format!("scumble-inline:{}", stored.path) },
                             "prompt": format!("scumble-inline:{}", stored.path) });
        let job = job(json!({ "base_urls": { "cdn": "https://me.example/cdn" } }));
        let body = body(&job, &outcome(200, output), &files).await.expect("files");
        let expected = json!({ "images": [{ "url": format!("https://me.example/cdn/files/{}", stored.path) }],
                               "mask": { "url": "data:image/png;base64,cGl4ZWxz" },
                               "prompt": format!("scumble-inline:{}", stored.path) });
        assert_eq!((body.payload, body.payload_error), (expected, None));
    }

    #[tokio::test]
    async fn an_output_that_cannot_be_given_is_said_to_be_so() {
        let files = Files::open("memory:").expect("memory");
        let gone = json!({ "url": "scumble-inline:b/0123456789abcdef0123456789abcdef/a.png" });
        let said = body(&job(json!({})), &outcome(200, gone), &files).await.expect("files");
        assert_eq!(said.payload, Value::Null);
        assert_eq!(said.payload_error.as_deref(), Some("a file of the output is no longer kept"));
        let nowhere = json!({ "url": "scumble-file:b/0123456789abcdef0123456789abcdef/a.png" });
        let said = body(&job(json!({})), &outcome(200, nowhere), &files).await.expect("files");
        assert_eq!(said.payload_error.as_deref(), Some("the address of the files was not recorded"));
    }
}
