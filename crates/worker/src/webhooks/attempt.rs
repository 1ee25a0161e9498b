//! One attempt: build, sign, post, record.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use scumble_api::{JobOptions, NO_USER, Notice};
use scumble_meters::Delivery as Outcome;
use scumble_store::{Delivery, DeliveryAttempt, Error, Job, NextDelivery, Result};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::deliverer::{Deliverer, margin};
use super::{keys, payload, schedule};
use crate::faults::Point;

/// Between two looks for a database that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// How a post went.
struct Posted {
    status: Option<u16>,
    error: Option<String>,
    verdict: Verdict,
}

enum Verdict {
    Delivered,
    /// Trying again would not help.
    Refused,
    TryAgain,
    /// This process stops: the next should begin anew, at once.
    Interrupted,
}

impl Deliverer {
    /// Tries to deliver, and records how that went.
    pub(super) async fn attempt(&self, delivery: &Delivery, stop: &CancellationToken) {
        let id = delivery.job_id;
        match self.try_attempt(delivery, stop).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(job.id = %id, "its webhook was taken over by another process"),
            // the lease ends by itself, and the delivery is tried again
            Err(error) => tracing::error!(job.id = %id, %error, "an attempt to deliver its webhook was not recorded"),
        }
    }

    async fn try_attempt(&self, delivery: &Delivery, stop: &CancellationToken) -> Result<bool> {
        // half of what the lease has to spare: the other half is for writing down how it went
        let until = Instant::now() + margin(self.timeout) / 2;
        let Some(job) = patiently(until, stop, || self.store.job(delivery.job_id)).await? else { return Ok(true) };
        let number = patiently(until, stop, || self.tried(delivery)).await? + 1;
        let (at_ms, began) = (self.clock.now_ms(), Instant::now());
        let span = scumble_traces::span!(
            "webhook",
            JobOptions::of(&job.options).traceparent(),
            otel.kind = "client",
            otel.status_code = Empty,
            job.id = %job.id,
            attempt = i64::from(number),
            http.response.status_code = Empty
        );
        let posted = tokio::select! {
            posted = self.post(delivery, &job, at_ms, schedule::timeout(number, self.timeout)).instrument(span.clone()) => posted,
            () = stop.cancelled() => Posted::without_answer("this server was stopped", Verdict::Interrupted),
        };
        self.faults.pass(Point::InDelivery);
        let now_ms = self.clock.now_ms();
        let next = match posted.verdict {
            Verdict::Delivered => NextDelivery::Delivered,
            Verdict::Refused => NextDelivery::GivenUp,
            Verdict::TryAgain => schedule::after(number, now_ms, getrandom::u32().unwrap_or(0)),
            Verdict::Interrupted => NextDelivery::At(now_ms),
        };
        tell(delivery, number, &posted, next, now_ms);
        note(&span, &posted);
        self.count(next, began.elapsed());
        let duration_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let Posted { status, error, verdict: _ } = posted;
        self.store.delivery_attempted(delivery, DeliveryAttempt { at_ms, duration_ms, status, error }, next).await
    }

    fn count(&self, next: NextDelivery, took: Duration) {
        let outcome = match next {
            NextDelivery::Delivered => Outcome::Delivered,
            NextDelivery::GivenUp => Outcome::GivenUp,
            NextDelivery::At(_) => Outcome::Again,
        };
        self.meters.webhooks.attempts.of(outcome).inc();
        self.meters.webhooks.seconds.observe(took.as_secs_f64());
    }

    /// How many attempts there were. A claim that a dying process took with it is none.
    async fn tried(&self, delivery: &Delivery) -> Result<u32> {
        let records = self.store.deliveries(delivery.job_id).await?;
        let log = records.into_iter().find(|record| record.id == delivery.id).map(|record| record.log);
        Ok(log.map_or(0, |log| u32::try_from(log.len()).unwrap_or(u32::MAX)))
    }

    async fn post(&self, delivery: &Delivery, job: &Job, now_ms: i64, limit: Duration) -> Posted {
        let (headers, body) = match self.letter(job, now_ms).await {
            Ok(letter) => letter,
            Err(error) => {
                tracing::error!(job.id = %job.id, error, "its webhook cannot be written");
                return Posted::without_answer("the server could not write the webhook", Verdict::TryAgain);
            }
        };
        match self.fetcher.post(&delivery.url, &headers, body, limit).await {
            Ok(answer) => Posted::answered(answer.status),
            Err(error) => {
                let verdict = if error.may_pass() { Verdict::TryAgain } else { Verdict::Refused };
                Posted::without_answer(&error.to_string(), verdict)
            }
        }
    }

    /// Body and headers, signed for this moment.
    async fn letter(&self, job: &Job, now_ms: i64) -> Result<(Vec<(HeaderName, HeaderValue)>, Bytes), String> {
        let outcome = job.outcome.as_ref().ok_or("its job has not ended")?;
        let body = payload::body(job, outcome, &self.files).await.map_err(|e| e.to_string())?;
        let body = Bytes::from(serde_json::to_vec(&body).map_err(|e| e.to_string())?);
        let notice = Notice {
            request_id: &job.id.to_string(),
            user_id: job.key_id.as_deref().unwrap_or(NO_USER),
            timestamp_s: now_ms.div_euclid(1000),
            body: &body,
        };
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        // this attempt, where traces are exported; else the caller's own, which whoever gets the webhook may know
        let before = || JobOptions::of(&job.options).traceparent();
        let trace = scumble_traces::traceparent(&Span::current()).or_else(before);
        if let Some(value) = trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok()) {
            headers.push((HeaderName::from_static("traceparent"), value));
        }
        for (name, value) in notice.headers(keys::load(&*self.store).await?.signer(now_ms)) {
            let value = HeaderValue::try_from(value).map_err(|_| format!("{name} cannot be sent"))?;
            headers.push((HeaderName::from_static(name), value));
        }
        Ok((headers, body))
    }
}

/// Reads, and waits for a database that is away.
async fn patiently<T, F>(until: Instant, stop: &CancellationToken, read: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match read().await {
            Err(error @ Error::NoAnswer(_)) if Instant::now() < until && !stop.is_cancelled() => {
                tracing::debug!(%error, "a webhook waits for the database");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

impl Posted {
    /// Any 2xx is fine, and what moves away is gone: a redirect would take the signed body to a stranger.
    fn answered(status: u16) -> Self {
        let (error, verdict) = match status {
            200..=299 => (None, Verdict::Delivered),
            300..=399 => {
                (Some(format!("the receiver answered {status}; redirects are not followed")), Verdict::Refused)
            }
            _ => (Some(format!("the receiver answered {status}")), Verdict::TryAgain),
        };
        Self { status: Some(status), error, verdict }
    }

    fn without_answer(error: &str, verdict: Verdict) -> Self {
        Self { status: None, error: Some(error.to_owned()), verdict }
    }
}

/// Writes on the span of an attempt what became of it.
fn note(span: &Span, posted: &Posted) {
    if let Some(status) = posted.status {
        span.record("http.response.status_code", i64::from(status));
    }
    if posted.error.is_some() {
        span.record("otel.status_code", "ERROR");
    }
}

fn tell(delivery: &Delivery, number: u32, posted: &Posted, next: NextDelivery, now_ms: i64) {
    let (id, error) = (delivery.job_id, posted.error.as_deref().unwrap_or_default());
    match next {
        NextDelivery::Delivered => tracing::info!(job.id = %id, attempt = number, "webhook delivered"),
        NextDelivery::GivenUp => tracing::warn!(job.id = %id, attempt = number, error, "webhook given up"),
        NextDelivery::At(at_ms) => {
            let pause_ms = at_ms - now_ms;
            tracing::info!(job.id = %id, attempt = number, error, pause_ms, "webhook not delivered; it is tried again");
        }
    }
}
