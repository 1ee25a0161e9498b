//! fal itself: any endpoint forwarded through its queue, so that an owner can move one endpoint at a time.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use scumble_api::Problem;
use scumble_fetch::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::core::call::{Call, Made, MadeFile, Maker, Progress};
use crate::core::cost::Cost;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::core::fan::fan_out;
use crate::core::retry::{Verdict, retry_after};
use crate::core::ticket::Task;
use crate::makers::Place;
use crate::picture::{Kind, Wish, fetch};
use crate::seeds;
use crate::settings::FalSettings;
use crate::wire::{Answer, Ask, Body, Link};

/// Whoever answers at fal.
pub(crate) struct Fal {
    pub(crate) place: Place,
    per_image: Cost,
}

/// A request that fal has.
struct Submitted {
    id: String,
    status: String,
}

impl Fal {
    pub(crate) fn new(place: Place, settings: &FalSettings) -> Self {
        Self { place, per_image: Cost::from_usd(settings.usd_per_image) }
    }

    fn ask(&self, method: Method, link: Link, body: Body) -> Result<Ask, MakerError> {
        let key = self.place.key()?.and_then(|key| key.header("Key "));
        let headers: Vec<(HeaderName, HeaderValue)> =
            key.map(|key| (HeaderName::from_static("authorization"), key)).into_iter().collect();
        Ok(Ask { method, link, headers, body, pictures: 0 })
    }

    /// Addresses are ours to make: a key goes to the configured place alone.
    fn link(&self, endpoint: &str, rest: &str) -> Link {
        let app: Vec<&str> = endpoint.split('/').take(2).collect();
        self.place.at(&format!("/{}/requests/{rest}", app.join("/")))
    }

    async fn submit(&self, run: &Run<'_>, call: &Call, deadline: Instant) -> Result<Submitted, MakerError> {
        let cost = self.per_image.times(call.count());
        let mut reserved = run.tab.reserve(cost)?;
        let body = Body::Json(Value::Object(forwarded(call)));
        let ask = self.ask(Method::POST, self.place.at(&format!("/{}", call.endpoint)), body)?;
        let read = |answer: &Answer| read(run, answer, call);
        let answer = run.order(0, &ask, deadline, &read, &mut reserved).await?;
        let body = answer.json().unwrap_or_default();
        // it becomes a part of addresses
        let plain = |id: &&str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        let Some(id) = body["request_id"].as_str().filter(plain) else {
            run.log(&format!("fal gave no request id: {}", run.desk.quote(&answer)));
            return Err(run.failed(false));
        };
        reserved.settle(cost);
        let status = self.link(&call.endpoint, &format!("{id}/status")).url;
        let task = Task::Submitted { id: id.to_owned(), poll: status.clone(), seed: None, cost: cost.micros() };
        run.tickets.at(0, task).await;
        run.log(&format!("forwarded to fal as request {id}"));
        Ok(Submitted { id: id.to_owned(), status })
    }

    /// Until fal says that it has ended.
    async fn wait(&self, run: &Run<'_>, task: &Submitted, deadline: Instant) -> Result<(), MakerError> {
        let link = Link { url: task.status.clone(), own: true };
        if !self.place.base.is_origin_of(&link.url) {
            run.log("the request was made at another address of fal than the configured one; no key is sent there");
            return Err(run.failed(false));
        }
        let ask = self.ask(Method::GET, link, Body::Empty)?;
        let (mut last, mut troubles, began) = (String::new(), 0u32, Instant::now());
        loop {
            let sent = run.until(Some(deadline), run.desk.http.send(&ask, deadline), false).await?;
            let usual = if began.elapsed().as_secs() < 10 { 500 } else { 1000 };
            let pause = match sent {
                Ok(answer) if matches!(answer.status, 200 | 202) => {
                    let status = answer.json().and_then(|body| body["status"].as_str().map(str::to_owned));
                    match status.as_deref() {
                        Some("COMPLETED") => return Ok(()),
                        Some(status) if status != last => {
                            let status: String = status.chars().take(40).collect();
                            run.log(&format!("fal: {status}"));
                            last = status;
                        }
                        _ => {}
                    }
                    troubles = 0;
                    Duration::from_millis(usual)
                }
                Ok(answer) if matches!(answer.status, 401..=404) => {
                    let mut tries = Default::default();
                    run.refused(&answer, run.denied_key(), &mut tries)?;
                    Duration::from_millis(usual)
                }
                Err(lost) if lost.unrecorded => return Err(run.unrecorded(&lost)),
                Err(lost) if !lost.passes => {
                    run.log(&format!("the status of the request cannot be read: {}", lost.why));
                    return Err(run.failed(false));
                }
                other => {
                    troubles += 1;
                    let asked = other.ok().as_ref().and_then(retry_after);
                    let own = Duration::from_millis(usual) * 2u32.pow(troubles.min(4));
                    asked.unwrap_or(own).min(Duration::from_secs(30))
                }
            };
            run.pause(pause, deadline, false).await?;
        }
    }

    /// The output, or the error that takes its place.
    async fn result(
        &self,
        run: &Run<'_>,
        call: &Call,
        task: &Submitted,
        deadline: Instant,
    ) -> Result<(Value, Option<f64>), MakerError> {
        let ask = self.ask(Method::GET, self.link(&call.endpoint, &task.id), Body::Empty)?;
        // reading what is there is free
        for attempt in 1..=3u32 {
            match run.until(Some(deadline), run.desk.http.send(&ask, deadline), false).await? {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    let units = answer.header("x-fal-billable-units").and_then(|text| text.parse().ok());
                    return match answer.json() {
                        Some(body) => Ok((body, units)),
                        None => Err(run.failed(true)),
                    };
                }
                Ok(answer) if matches!(answer.status, 429 | 502 | 503) && attempt < 3 => {}
                Ok(answer) => {
                    run.log(&format!("fal answered {}: {}", answer.status, run.desk.quote(&answer)));
                    return Err(passed_on(call, &answer).unwrap_or_else(|| run.failed(false)));
                }
                Err(lost) if lost.unrecorded => return Err(run.unrecorded(&lost)),
                Err(lost) => run.log(&format!("the result could not be read: {}", lost.why)),
            }
            run.pause(Duration::from_secs(1), deadline, false).await?;
        }
        Err(run.failed(true))
    }

    /// Tells fal that nobody waits any more.
    async fn cancel(&self, call: &Call, id: &str) {
        let link = self.link(&call.endpoint, &format!("{id}/cancel"));
        if let Ok(ask) = self.ask(Method::PUT, link, Body::Empty) {
            let deadline = Instant::now() + Duration::from_secs(5);
            let _ = self.place.desk.http.send(&ask, deadline).await;
        }
    }

    async fn finish(
        &self,
        run: &Run<'_>,
        call: &Call,
        task: &Submitted,
        deadline: Instant,
    ) -> Result<(Value, Option<f64>), MakerError> {
        self.wait(run, task, deadline).await?;
        self.result(run, call, task, deadline).await
    }

    async fn files(&self, run: &Run<'_>, output: &Value) -> Result<Vec<MadeFile>, MakerError> {
        let listed = output["images"].as_array().cloned();
        let images = listed.unwrap_or_else(|| output.get("image").cloned().into_iter().collect());
        if images.is_empty() {
            return Err(MakerError::nothing());
        }
        let count = u32::try_from(images.len()).unwrap_or(u32::MAX);
        let files = fan_out(count, |place| {
            let image = &images[place as usize];
            async move {
                let link = image["url"].as_str().ok_or_else(MakerError::nothing)?;
                let drawing = image["content_type"] == Kind::Svg.content_type();
                let wish = Wish { drawing, ..Wish::named("image") };
                let mut file = fetch(run, link, wish).await.map_err(|none| none.error(run, true))?;
                if let Some(name) = image["file_name"].as_str().filter(|name| is_plain(name)) {
                    file.name = name.to_owned();
                }
                Ok(file)
            }
        });
        files.await
    }
}

fn is_plain(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=100).contains(&name.len()) && name.bytes().all(fine) && !name.starts_with('.')
}

#[async_trait::async_trait]
impl Maker for Fal {
    fn serves(&self, _: &str) -> bool {
        true
    }

    fn ready(&self) -> Result<(), MakerError> {
        self.place.key().map(drop)
    }

    async fn run(&self, call: &Call, progress: &dyn Progress) -> Result<Made, MakerError> {
        self.ready()?;
        let run = self.place.desk.run(call, &call.endpoint, progress);
        let slot = run.slot().await?;
        let (began, deadline) = (Instant::now(), run.deadline());
        let task = match run.begun(0).await {
            Some(Task::Submitted { id, poll, .. }) => {
                run.log(&format!("fal still has request {id}; it is not submitted again"));
                Submitted { id, status: poll }
            }
            Some(_) => return Err(run.lost_before()),
            None => self.submit(&run, call, deadline).await?,
        };
        let (output, units) = match self.finish(&run, call, &task, deadline).await {
            Ok(output) => output,
            Err(error) => {
                if matches!(error, MakerError::Cancelled) && !progress.resumes() {
                    self.cancel(call, &task.id).await;
                }
                return Err(error);
            }
        };
        drop(slot);
        let inference = began.elapsed();
        let files = self.files(&run, &output).await?;
        let kept = |(name, _): &(&String, &Value)| matches!(name.as_str(), "timings" | "has_nsfw_concepts" | "prompt");
        let extra =
            output.as_object().map(|all| all.iter().filter(kept).map(|(k, v)| (k.clone(), v.clone())).collect());
        let made = u32::try_from(files.len()).unwrap_or(u32::MAX);
        Ok(Made {
            seed: output["seed"].as_u64(),
            units: units.map_or(made, |units| units.ceil().clamp(0.0, f64::from(u32::MAX)) as u32),
            inference,
            model: call.endpoint.clone(),
            extra: extra.unwrap_or_default(),
            files,
        })
    }
}

/// The caller's input: with pictures as data URIs, since their addresses may be private, and never as `sync_mode`, since
/// this server stores what comes back.
fn forwarded(call: &Call) -> Map<String, Value> {
    let mut input = call.values.clone();
    for (field, files) in &call.images {
        let uri = |bytes: &bytes::Bytes| {
            let kind = Kind::of(bytes).map_or("application/octet-stream", Kind::content_type);
            Value::from(format!("data:{kind};base64,{}", BASE64.encode(bytes)))
        };
        let value = match input.get(field) {
            Some(Value::Array(_)) => files.iter().map(uri).collect(),
            _ => files.first().map_or(Value::Null, uri),
        };
        input.insert(field.clone(), value);
    }
    if input.contains_key("sync_mode") {
        input.insert("sync_mode".into(), false.into());
    }
    let seeded = scumble_api::find(&call.endpoint).is_some_and(|endpoint| endpoint.field("seed").is_some());
    if seeded && input.get("seed").is_none_or(Value::is_null) {
        input.insert("seed".into(), seeds::reduced(call.seed).into());
    }
    input
}

fn read(run: &Run<'_>, answer: &Answer, call: &Call) -> Verdict {
    match answer.status {
        400 | 405..=428 | 430..=499 => Verdict::Refused(passed_on(call, answer).unwrap_or_else(|| run.failed(false))),
        _ => run.usual(answer).unwrap_or_else(|| Verdict::Refused(run.failed(false))),
    }
}

/// Kinds of problems that are passed on as they are, in our words.
const KINDS: &[(&str, &str)] = &[
    ("file_download_error", "Failed to download the file. Please check if the URL is accessible and try again."),
    ("image_load_error", "The image cannot be decoded"),
    ("file_too_large", "The file is too large"),
    ("image_too_small", "The image is too small"),
    ("image_too_large", "The image is too large"),
    ("unsupported_image_format", "This kind of image is not supported"),
    ("feature_not_supported", "This is not supported"),
    ("greater_than", "Input is too small"),
    ("greater_than_equal", "Input is too small"),
    ("less_than", "Input is too large"),
    ("less_than_equal", "Input is too large"),
    ("multiple_of", "Input is not a multiple of the number that it has to be a multiple of"),
    ("sequence_too_short", "Input is too short"),
    ("sequence_too_long", "Input is too long"),
    ("one_of", "Input is not one of the allowed values"),
    ("literal_error", "Input is not one of the allowed values"),
    ("missing", "Field required"),
    ("value_error", "This value cannot be used"),
];

/// fal's errors are documented ones already: kind, place and limits are passed on, and the words are ours.
fn passed_on(call: &Call, answer: &Answer) -> Option<MakerError> {
    let body = answer.json()?;
    let problem = body["detail"].as_array()?.first()?;
    let loc: Vec<&str> = problem["loc"].as_array()?.iter().skip(1).filter_map(Value::as_str).collect();
    let loc: Vec<&str> = loc.into_iter().filter(|step| is_plain(step)).collect();
    match problem["type"].as_str()? {
        "content_policy_violation" => {
            let field = loc.first().copied().filter(|field| call.values.contains_key(*field)).unwrap_or("prompt");
            Some(MakerError::moderated(field))
        }
        "no_media_generated" => Some(MakerError::nothing()),
        kind => {
            let (kind, msg) = KINDS.iter().find(|(name, _)| *name == kind)?;
            let mut problem_here = Problem::new(&loc, kind, *msg);
            for (name, value) in problem["ctx"].as_object().into_iter().flatten() {
                if value.is_number() {
                    problem_here = problem_here.with(name, value.clone());
                }
            }
            Some(MakerError::field(problem_here))
        }
    }
}

/// Everything that is read of an answer.
#[cfg(feature = "fuzz")]
pub(crate) fn read_any(run: &Run<'_>, answer: &Answer, call: &Call) -> Vec<Verdict> {
    vec![read(run, answer, call)]
}
