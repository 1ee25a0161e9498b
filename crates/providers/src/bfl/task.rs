//! One picture: submit, ask after it, fetch it.

use std::time::Duration;

use scumble_fetch::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Bfl;
use super::order::{Order, field_of};
use crate::core::call::MadeFile;
use crate::core::cost::Cost;
use crate::core::desk::Run;
use crate::core::error::MakerError;
use crate::core::retry::{Verdict, retry_after, seconds};
use crate::core::ticket::Task;
use crate::picture::{NoFile, fetch};
use crate::prices;
use crate::wire::{Answer, Ask, Body, Link, is_under};

/// A finished task.
pub(super) struct Done {
    pub(super) file: MadeFile,
    pub(super) seed: u64,
    pub(super) took: Duration,
}

/// A task that the maker has.
struct Submitted {
    id: String,
    poll: String,
    seed: u64,
    cost: Cost,
}

/// What became of a task.
enum Ended {
    Ready { link: String, seed: Option<u64> },
    Refused { free: bool },
    Failed,
}

/// What an answer to "is it ready?" says.
enum Heard {
    Ended(Ended),
    /// In these words of the maker.
    Pending(String),
    Unknown,
    Unreadable,
    /// Wait a little longer.
    Busy(Option<Duration>),
}

/// How often a task may be unknown, or an answer unreadable, before it counts.
const PATIENCE: u32 = 5;

impl Bfl {
    pub(super) async fn task(&self, run: &Run<'_>, order: &Order, index: u32, seed: u64) -> Result<Done, MakerError> {
        // from being submitted to its end a task counts as active
        let slot = run.slot().await?;
        let began = Instant::now();
        let deadline = run.deadline();
        let task = match run.begun(index).await {
            Some(Task::Submitted { id, poll, seed: own, cost }) => {
                run.log(&format!("Black Forest Labs still has task {id}; it is not submitted again"));
                Submitted { id, poll, seed: own.unwrap_or(seed), cost: Cost::from_micros(cost) }
            }
            Some(_) => return Err(run.lost_before()),
            None => self.submit(run, order, index, seed, deadline).await?,
        };
        let mut fresh_link = true;
        loop {
            let (link, seed) = match self.wait(run, &task, deadline).await? {
                Ended::Ready { link, seed } => (link, seed.unwrap_or(task.seed)),
                Ended::Refused { free } => {
                    if free {
                        run.tab.refund(task.cost);
                    }
                    return Err(MakerError::moderated(if free { order.looked_at } else { "prompt" }));
                }
                Ended::Failed => return Err(run.failed(true)),
            };
            let took = began.elapsed();
            match fetch(run, &link, order.wish).await {
                Ok(file) => {
                    drop(slot);
                    run.log(&format!("task {} is ready after {:.1} s, for {}", task.id, took.as_secs_f64(), task.cost));
                    return Ok(Done { file, seed, took });
                }
                // links last ten minutes; the task is asked once for a new one
                Err(NoFile::Dead) if fresh_link => fresh_link = false,
                Err(none) => return Err(none.error(run, true)),
            }
        }
    }

    async fn submit(
        &self,
        run: &Run<'_>,
        order: &Order,
        index: u32,
        seed: u64,
        deadline: Instant,
    ) -> Result<Submitted, MakerError> {
        let price = prices::of(order.model).unwrap_or_default();
        let mut reserved = run.tab.reserve(price)?;
        let mut body = order.body.clone();
        body.insert("seed".into(), seed.into());
        let link = self.place.at(order.path);
        let (headers, body) = (self.key_header()?, Body::Json(Value::Object(body)));
        let ask = Ask { method: Method::POST, link, headers, body, pictures: 1 };
        let read = |answer: &Answer| read_submit(run, answer);
        let answer = run.order(index, &ask, deadline, &read, &mut reserved).await?;
        let body = answer.json().unwrap_or_default();
        let Some(id) = body["id"].as_str() else {
            // taken, and without a name to ask for it by
            run.log(&format!("Black Forest Labs gave no id: {}", run.desk.quote(&answer)));
            return Err(run.failed(false));
        };
        let cost = body["cost"].as_f64().map_or(price, |credits| Cost::from_usd(credits / 100.0));
        reserved.settle(cost);
        let poll = body["polling_url"].as_str().map(str::to_owned);
        let poll = poll.unwrap_or_else(|| self.place.at(&format!("/v1/get_result?id={id}")).url);
        let task = Submitted { id: id.to_owned(), poll, seed, cost };
        let (id, poll, cost) = (task.id.clone(), task.poll.clone(), task.cost.micros());
        run.tickets.at(index, Task::Submitted { id, poll, seed: Some(seed), cost }).await;
        run.log(&format!("submitted to {} as task {}, seed {seed}", order.model, task.id));
        Ok(task)
    }

    /// Asks after a task until it has ended, or the time has.
    async fn wait(&self, run: &Run<'_>, task: &Submitted, deadline: Instant) -> Result<Ended, MakerError> {
        let link = self.poll_link(&task.poll).ok_or_else(|| {
            run.log("the task's address is not one of Black Forest Labs; no key is sent there");
            run.failed(false)
        })?;
        let ask = Ask { method: Method::GET, link, headers: self.key_header()?, body: Body::Empty, pictures: 0 };
        let (began, mut last, mut troubles, mut unknown) = (Instant::now(), String::new(), 0u32, 0u32);
        loop {
            let usual = interval(began.elapsed());
            let heard = match run.until(Some(deadline), run.desk.http.send(&ask, deadline), false).await? {
                Ok(answer) => self.read_poll(run, &answer)?,
                Err(lost) if lost.unrecorded => return Err(run.unrecorded(&lost)),
                Err(lost) if !lost.passes => {
                    run.log(&format!("the status of the task cannot be read: {}", lost.why));
                    return Err(run.failed(false));
                }
                Err(_) => Heard::Busy(None),
            };
            let pause = match heard {
                Heard::Ended(ended) => return Ok(ended),
                Heard::Pending(status) => {
                    (troubles, unknown) = (0, 0);
                    if status != last {
                        run.log(&format!("task {}: {status}", task.id));
                        last = status;
                    }
                    usual
                }
                // right after a submit, or for ever
                Heard::Unknown => {
                    unknown += 1;
                    if unknown > PATIENCE {
                        run.log(&format!("task {} is not known to Black Forest Labs", task.id));
                        return Err(run.failed(true));
                    }
                    Duration::from_secs(2)
                }
                Heard::Unreadable => {
                    unknown += 1;
                    if unknown > PATIENCE {
                        return Err(run.failed(true));
                    }
                    usual
                }
                Heard::Busy(asked) => {
                    troubles += 1;
                    asked.unwrap_or(usual * 2u32.pow(troubles.min(4))).min(Duration::from_secs(30))
                }
            };
            run.pause(pause, deadline, false).await?;
        }
    }

    /// Where a task may be asked after with the key: at the owner's own address, at BFL's, or beside a stand-in on this
    /// machine.
    fn poll_link(&self, url: &str) -> Option<Link> {
        let base = &self.place.base;
        if base.is_origin_of(url) {
            return Some(Link { url: url.to_owned(), own: true });
        }
        // a replay sends nothing anywhere
        let replayed = self.place.desk.http.is_replay();
        (replayed || is_under(url, "bfl.ai") || base.is_beside(url)).then(|| Link { url: url.to_owned(), own: false })
    }

    fn read_poll(&self, run: &Run<'_>, answer: &Answer) -> Result<Heard, MakerError> {
        let body = answer.json().unwrap_or_default();
        let status = body["status"].as_str().or(body["state"].as_str());
        match (answer.status, status) {
            (202, status) => Ok(Heard::Pending(status.unwrap_or("Pending").to_owned())),
            (200, Some(status)) => Ok(read_status(run, status, &body, answer)),
            (200..=299, _) => {
                run.log(&format!("an unreadable answer about the task: {}", run.desk.quote(answer)));
                Ok(Heard::Unreadable)
            }
            (404, _) => Ok(Heard::Unknown),
            (408 | 429 | 500..=599, _) => Ok(Heard::Busy(asked_wait(answer))),
            (401..=403, _) => {
                let mut tries = Default::default();
                run.refused(answer, run.denied_key(), &mut tries).map(|_| Heard::Unreadable)
            }
            _ => {
                run.log(&format!("the status of the task: {} {}", answer.status, run.desk.quote(answer)));
                Err(run.failed(false))
            }
        }
    }
}

/// Half a second at first, then less often.
fn interval(since: Duration) -> Duration {
    match since.as_secs() {
        0..10 => Duration::from_millis(500),
        10..40 => Duration::from_secs(1),
        _ => Duration::from_secs(2),
    }
}

fn asked_wait(answer: &Answer) -> Option<Duration> {
    let body = || answer.json()?["retry_after"].as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
    let text = || seconds(answer.json()?["retry_after"].as_str()?);
    retry_after(answer).or_else(body).or_else(text)
}

fn read_submit(run: &Run<'_>, answer: &Answer) -> Verdict {
    match answer.status {
        429 => Verdict::Limited(asked_wait(answer)),
        504 => Verdict::Lost,
        _ => run.usual(answer).unwrap_or_else(|| Verdict::Refused(blamed(answer).unwrap_or_else(|| run.failed(false)))),
    }
}

/// The caller's field that the maker blames: `{"detail":[{"loc":["body","mask"],…}]}`.
fn blamed(answer: &Answer) -> Option<MakerError> {
    let body = answer.json()?;
    let loc = body["detail"].as_array()?.iter().filter_map(|problem| problem["loc"].as_array()?.last()?.as_str());
    let field = loc.filter_map(field_of).next()?;
    Some(MakerError::value(field, format!("The maker of this model does not accept this {field}")))
}

fn read_status(run: &Run<'_>, status: &str, body: &Value, answer: &Answer) -> Heard {
    match status {
        "Ready" => match body["result"]["sample"].as_str() {
            Some(link) => Heard::Ended(Ended::Ready { link: link.to_owned(), seed: body["result"]["seed"].as_u64() }),
            None => {
                run.log(&format!("a task that is ready without a picture: {}", run.desk.quote(answer)));
                Heard::Unreadable
            }
        },
        "Request Moderated" | "Content Moderated" => {
            let reasons = body["details"]["Moderation Reasons"].as_array().cloned().unwrap_or_default();
            run.log(&format!("{status}: {}", json!(reasons)));
            Heard::Ended(Ended::Refused { free: status == "Request Moderated" })
        }
        "Error" | "Failed" => {
            run.log(&format!("the task failed: {}", run.desk.quote(answer)));
            Heard::Ended(Ended::Failed)
        }
        "Task not found" => Heard::Unknown,
        // whatever else is said, now or in years: it goes on
        other => Heard::Pending(other.chars().take(40).collect()),
    }
}

/// Everything that is read of an answer.
#[cfg(feature = "fuzz")]
pub(crate) fn read_any(run: &Run<'_>, answer: &Answer) -> Vec<Verdict> {
    let body = answer.json().unwrap_or_default();
    if let Some(status) = body["status"].as_str() {
        drop(read_status(run, status, &body, answer));
    }
    vec![read_submit(run, answer)]
}
