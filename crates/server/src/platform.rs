//! What callers say in headers and query beside the input (protocol 4.1). fal ignores what it cannot read in most of
//! them, and so does this; where a mistake would silently cost the caller something, it is refused instead.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use scumble_api::{ErrorAnswer, JobOptions, Lifecycle, Problem, RetryRules, Traceparent};
use scumble_store::{Clock, NewJob, Once, Priority};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::Span;

use crate::addressing::{Caller, Service};
use crate::answer::Refusal;
use crate::uploads;

/// Longest hint that is heeded.
const HINT_BYTES: usize = 256;
/// Longest word that marks repeated submits.
const WORD_BYTES: usize = 255;

/// `?fal_webhook=…&fal_max_queue_length=…`
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SubmitQuery {
    fal_webhook: Option<String>,
    fal_max_queue_length: Option<String>,
}

impl SubmitQuery {
    /// How many may wait already, where the caller has said so.
    pub(crate) fn max_waiting(&self) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.fal_max_queue_length.as_deref() else { return Ok(None) };
        let problem =
            || query_problem("fal_max_queue_length", "int_parsing", "must be a whole number, 0 or more", text);
        text.trim().parse().map(Some).map_err(|_| problem())
    }

    /// Who wants to be told of the outcome. An address that is private only by its name shows when it is opened.
    pub(crate) fn webhook(self, allow_private: bool) -> Result<Option<String>, Refusal> {
        let Some(url) = self.fal_webhook.filter(|url| !url.is_empty()) else { return Ok(None) };
        let refuse =
            |e: scumble_fetch::Error| query_problem("fal_webhook", "url_parsing", &format!("is refused: {e}"), &url);
        scumble_fetch::check_target(&url, allow_private).map_err(refuse)?;
        Ok(Some(url))
    }
}

fn query_problem(name: &str, kind: &str, msg: &str, given: &str) -> Refusal {
    let mut problem = Problem::new(&[name], kind, format!("{name} {msg}")).given(&given.into());
    problem.loc[0] = "query".into();
    ErrorAnswer::invalid(&[problem]).into()
}

/// Adds what the headers say to a job.
pub(crate) fn heed(job: NewJob, headers: &HeaderMap, clock: &dyn Clock) -> NewJob {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    NewJob {
        priority: priority(text("x-fal-queue-priority")),
        start_by_ms: start_timeout_ms(headers).map(|ms| clock.now_ms().saturating_add(ms)),
        hint: text("x-fal-runner-hint").filter(|h| (1..=HINT_BYTES).contains(&h.len())).map(str::to_owned),
        keep_io: text("x-fal-store-io").map(str::trim) != Some("0"),
        ..job
    }
}

/// The options that headers and address amount to.
///
/// # Errors
/// 422 for a lifecycle that cannot be read: ignoring it could make public what somebody wanted hidden.
pub(crate) fn options(headers: &HeaderMap, caller: &Caller) -> Result<JobOptions, Refusal> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let lifecycle = uploads::lifecycle(headers)?;
    Ok(JobOptions {
        tags: text("x-fal-tags").map(scumble_api::tags).unwrap_or_default(),
        retry: RetryRules::read(text("x-fal-no-retry"), text("x-fal-retry-config")),
        lifecycle: (lifecycle != Lifecycle::default()).then_some(lifecycle),
        trace: trace(headers).map(|trace| trace.to_string()),
        base_urls: BTreeMap::from([("cdn".to_owned(), caller.url(Service::Cdn, ""))]),
        ..JobOptions::default()
    })
}

/// What a job goes on with: the span of its submit, which has begun; where none is exported, what its caller says.
fn trace(headers: &HeaderMap) -> Option<Traceparent> {
    scumble_traces::traceparent(&Span::current()).or_else(|| traceparent(headers))
}

/// `traceparent`, where there is one and not several.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<Traceparent> {
    let mut said = headers.get_all("traceparent").iter();
    let only = said.next().filter(|_| said.next().is_none())?;
    Traceparent::parse(only.to_str().ok()?)
}

/// `Idempotency-Key`: the same word for the same call means the same job.
pub(crate) fn once(headers: &HeaderMap, endpoint: &str, body: &Value) -> Result<Option<Once>, Refusal> {
    let Some(header) = headers.get("idempotency-key") else { return Ok(None) };
    let word = header.to_str().unwrap_or_default().trim();
    if !(1..=WORD_BYTES).contains(&word.len()) {
        let msg = format!("Idempotency-Key must be 1 to {WORD_BYTES} visible ASCII characters");
        return Err(header_problem("Idempotency-Key", "value_error", msg));
    }
    let digest = Sha256::new().chain_update(endpoint).chain_update([0]).chain_update(body.to_string()).finalize();
    Ok(Some(Once { word: word.to_owned(), digest: digest.into() }))
}

/// The word of one of several jobs that are one call: the first has the caller's own.
pub(crate) fn once_of_part(once: Once, part: usize) -> Once {
    if part == 0 { once } else { Once { word: format!("{}#{part}", once.word), ..once } }
}

/// The same word for another call. Not a 409, which fal's Python client would retry.
pub(crate) fn word_reused() -> Refusal {
    let msg = "This Idempotency-Key was used for another request; use a fresh key for every new request";
    header_problem("Idempotency-Key", "idempotency_key_reused", msg)
}

fn header_problem(name: &str, kind: &str, msg: impl Into<String>) -> Refusal {
    let mut problem = Problem::new(&[name], kind, msg);
    problem.loc[0] = "header".into();
    ErrorAnswer::invalid(&[problem]).into()
}

/// Unknown priorities are ignored, as fal does.
fn priority(word: Option<&str>) -> Priority {
    match word {
        Some(word) if word.trim().eq_ignore_ascii_case("low") => Priority::Low,
        _ => Priority::Normal,
    }
}

/// Seconds that the caller is willing to wait for a start, under either of the header's names; at least 0.1.
fn start_timeout_ms(headers: &HeaderMap) -> Option<i64> {
    let header = headers.get("x-fal-request-start-timeout").or_else(|| headers.get("x-fal-request-timeout"))?;
    let seconds: f64 = header.to_str().ok()?.trim().parse().ok()?;
    (seconds > 0.1 && seconds < 1e9).then_some((seconds * 1000.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_timeout_is_read_under_both_names_and_nonsense_is_ignored() {
        let read = |name: &'static str, value: &'static str| {
            start_timeout_ms(&HeaderMap::from_iter([(name.parse().expect("a name"), value.parse().expect("a value"))]))
        };
        assert_eq!(read("x-fal-request-timeout", "30.0"), Some(30_000));
        assert_eq!(read("x-fal-request-start-timeout", "2"), Some(2_000));
        assert_eq!(read("x-fal-request-timeout", "0.05"), None);
        assert_eq!(read("x-fal-request-timeout", "soon"), None);
        assert_eq!(read("x-fal-request-timeout", "1e30"), None);
    }

    #[test]
    fn a_webhook_is_a_web_address() {
        let read = |url: &str| SubmitQuery { fal_webhook: Some(url.into()), ..SubmitQuery::default() }.webhook(false);
        assert_eq!(read("https://example.com/hook?x=1").expect("fine"), Some("https://example.com/hook?x=1".into()));
        assert_eq!(read("").expect("as if it were not there"), None);
        for bad in
            ["example.com", "ftp://example.com/", "file:///etc/passwd", "http://", "http://127.1/", "http://[::1]/"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_trace_is_named_once_and_well() {
        let of = |values: &[&str]| {
            let name: axum::http::HeaderName = "traceparent".parse().expect("a name");
            let pairs = values.iter().map(|value| (name.clone(), value.parse().expect("a value")));
            let mut headers = HeaderMap::new();
            pairs.for_each(|(name, value)| _ = headers.append(name, value));
            trace(&headers).map(|trace| trace.to_string())
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(of(&[good]).as_deref(), Some(good));
        assert_eq!(of(&[good, good]), None, "which of them is meant nobody knows");
        assert_eq!(of(&["00-x"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn an_idempotency_key_stands_for_one_call() {
        let once_for = |word: &str, body: Value| {
            let headers =
                HeaderMap::from_iter([("idempotency-key".parse().expect("a name"), word.parse().expect("a value"))]);
            once(&headers, "a/b", &body)
        };
        let first = once_for("w", serde_json::json!({ "prompt": "a" })).expect("fine");
        assert_eq!(once_for(" w ", serde_json::json!({ "prompt": "a" })).expect("fine"), first);
        assert_ne!(once_for("w", serde_json::json!({ "prompt": "b" })).expect("fine"), first);
        assert!(once_for("", Value::Null).is_err() && once_for(&"w".repeat(256), Value::Null).is_err());
    }
}
