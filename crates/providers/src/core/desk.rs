//! What all calls to one maker share, and how one question is asked: politely, patiently, and never twice if it may have
//! been billed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use scumble_fetch::Budget;
use tokio::time::{Instant, sleep, sleep_until};

use super::brake::{Brake, Reach};
use super::call::{Call, Progress};
use super::error::MakerError;
use super::gate::{Gate, Slot};
use super::ledger::{Ledger, Reserved, Tab};
use super::retry::{Pace, Tries, Verdict};
use super::ticket::{Task, Tickets};
use crate::wire::{Answer, Ask, Http, Lost};

/// How often a call looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(25);

/// One per maker and process.
pub(crate) struct Desk {
    /// For people.
    pub(crate) name: &'static str,
    /// In settings and tickets.
    pub(crate) id: &'static str,
    pub(crate) http: Arc<Http>,
    /// What pictures draw on while they are unpacked.
    pub(crate) memory: Budget,
    pub(crate) gate: Arc<Gate>,
    pub(crate) brake: Brake,
    pub(crate) ledger: Ledger,
    pub(crate) pace: Pace,
    pub(crate) deadline: Duration,
}

/// One call on its way.
pub(crate) struct Run<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) model: &'a str,
    pub(crate) tickets: Tickets<'a>,
    /// What it costs.
    pub(crate) tab: Tab<'a>,
    /// When the caller does not wait any longer.
    patience: Option<Instant>,
}

impl Desk {
    pub(crate) fn run<'a>(&'a self, call: &'a Call, model: &'a str, progress: &'a dyn Progress) -> Run<'a> {
        Run {
            desk: self,
            progress,
            model,
            tickets: Tickets::new(self.id, call.resume.as_deref(), progress),
            tab: Tab::new(&self.ledger, progress),
            patience: call.patience.map(|patience| Instant::now() + patience),
        }
    }

    /// A maker's own words for a log: short, in one line, without keys.
    pub(crate) fn quote(&self, answer: &Answer) -> String {
        let text = String::from_utf8_lossy(&answer.body);
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(2000).collect();
        self.http.secrets().scrub(&line).chars().take(300).collect()
    }
}

impl Run<'_> {
    /// A line for the job's log and for the operator's.
    pub(crate) fn log(&self, line: &str) {
        let line = self.desk.http.secrets().scrub(line);
        tracing::info!(provider = self.desk.id, model = self.model, "{line}");
        self.progress.log(&line);
    }

    /// Until when the maker may work on what is sent now.
    pub(crate) fn deadline(&self) -> Instant {
        let own = Instant::now() + self.desk.deadline;
        self.patience.map_or(own, |patience| own.min(patience))
    }

    /// Room for a call; waiting for it costs nothing.
    pub(crate) async fn slot(&self) -> Result<Slot, MakerError> {
        self.desk.brake.check(self.model)?;
        let slot = self.until(self.patience, self.desk.gate.slot(), true).await?;
        self.desk.brake.check(self.model)?;
        Ok(slot)
    }

    /// What an earlier attempt has left of a task, and paid for.
    pub(crate) async fn begun(&self, index: u32) -> Option<Task> {
        let task = self.tickets.get(index).await?;
        self.tab.paid_before(task.cost());
        Some(task)
    }

    /// The end of a task that an earlier attempt sent, and that nothing more is known of.
    pub(crate) fn lost_before(&self) -> MakerError {
        self.log("this was sent before and its answer was lost; it is not sent again, for it may be billed");
        MakerError::late(self.desk.name, false)
    }

    /// Does `work` unless the caller or the time says stop. `free`: nothing was sent that could cost anything.
    pub(crate) async fn until<T>(
        &self,
        deadline: Option<Instant>,
        work: impl Future<Output = T>,
        free: bool,
    ) -> Result<T, MakerError> {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancelled() => Err(MakerError::Cancelled),
            done = work => Ok(done),
            () = late => Err(MakerError::late(self.desk.name, free)),
        }
    }

    /// Waits, at the pace of this desk.
    pub(crate) async fn pause(&self, pause: Duration, deadline: Instant, free: bool) -> Result<(), MakerError> {
        self.until(Some(deadline), sleep(self.desk.pace.of(pause)), free).await
    }

    async fn cancelled(&self) {
        while !self.progress.cancelled() {
            sleep(GLANCE).await;
        }
    }

    /// Sends something that may be billed, as task `index`, until it is answered or refused.
    ///
    /// Whatever may have reached the maker without an answer is not sent again.
    pub(crate) async fn order(
        &self,
        index: u32,
        ask: &Ask,
        deadline: Instant,
        read: &(dyn Fn(&Answer) -> Verdict + Sync),
        reserved: &mut Reserved<'_>,
    ) -> Result<Answer, MakerError> {
        let mut tries = Tries::default();
        loop {
            self.until(Some(deadline), self.desk.gate.start(ask.pictures), true).await?;
            self.desk.brake.check(self.model)?;
            self.tickets.sending(index, reserved.amount()).await?;
            // from here on it may cost something, even if nobody waits for the answer any more
            reserved.keep();
            let sent = self.until(Some(deadline), self.desk.http.send(ask, deadline), false).await?;
            let pause = match sent {
                Err(lost) if lost.sent => {
                    self.log(&format!("{}: the answer was lost ({}); it is not asked again", self.desk.name, lost.why));
                    return Err(MakerError::late(self.desk.name, false));
                }
                Err(lost) if lost.unrecorded => {
                    reserved.free();
                    self.tickets.unsent(index).await;
                    return Err(self.unrecorded(&lost));
                }
                Err(lost) => {
                    reserved.free();
                    self.tickets.unsent(index).await;
                    self.log(&format!("{} cannot be reached: {}", self.desk.name, lost.why));
                    if !lost.passes {
                        let msg = format!("{} cannot be reached from this server", self.desk.name);
                        return Err(MakerError::unavailable(msg, false));
                    }
                    tries.unreached()
                }
                Ok(answer) => match read(&answer) {
                    Verdict::Fine => return Ok(answer),
                    verdict => {
                        if !matches!(verdict, Verdict::Lost) {
                            reserved.free();
                            self.tickets.unsent(index).await;
                        }
                        self.refused(&answer, verdict, &mut tries)?
                    }
                },
            };
            let Some(pause) = pause.filter(|pause| Instant::now() + self.desk.pace.of(*pause) < deadline) else {
                return Err(MakerError::unavailable(
                    format!("{} cannot take this request now; try again later", self.desk.name),
                    true,
                ));
            };
            self.log(&format!("{} is asked again in {:.1} s", self.desk.name, pause.as_secs_f64()));
            self.pause(pause, deadline, true).await?;
        }
    }

    /// Records answer here, and there is none of what was asked: neither the maker nor the network is to blame.
    pub(crate) fn unrecorded(&self, lost: &Lost) -> MakerError {
        self.log(&lost.why);
        let msg = "This server replays recorded exchanges with makers (--replay), and none of them is of this request; the \
                   log of the request says what is missing";
        MakerError::unavailable(msg, false)
    }

    /// What follows from an answer that is none: a pause before the next attempt, or the end.
    pub(crate) fn refused(
        &self,
        answer: &Answer,
        verdict: Verdict,
        tries: &mut Tries,
    ) -> Result<Option<Duration>, MakerError> {
        let name = self.desk.name;
        self.log(&format!("{name} answered {}: {}", answer.status, self.desk.quote(answer)));
        match verdict {
            Verdict::Fine => Ok(None),
            Verdict::Limited(asked) => {
                self.desk.gate.spare();
                Ok(tries.limited(asked))
            }
            Verdict::Down { again } => Ok(tries.down(again)),
            Verdict::Lost => Err(MakerError::late(name, false)),
            Verdict::Denied(reach, error) => {
                tracing::error!(
                    provider = self.desk.id,
                    model = self.model,
                    status = answer.status,
                    scope = if reach == Reach::Maker { "provider" } else { "model" },
                    "{name} refuses our calls; none are made for 30 s",
                );
                self.desk.brake.pull(reach, self.model, &error);
                Err(error)
            }
            Verdict::Refused(error) => Err(error),
        }
    }

    /// Our key or our account is refused.
    pub(crate) fn denied_key(&self) -> Verdict {
        let name = self.desk.name;
        let msg = format!("{name} refuses this server's key or account; the owner of this server has to check both");
        Verdict::Denied(Reach::Maker, MakerError::unavailable(msg, false))
    }

    /// The model is not there any more.
    pub(crate) fn denied_model(&self) -> Verdict {
        let name = self.desk.name;
        let msg = format!(
            "{name} no longer serves the model of this endpoint; the owner of this server has to choose another"
        );
        Verdict::Denied(Reach::Model, MakerError::unavailable(msg, false))
    }

    /// What all makers mean by their statuses. `None` where their own words count.
    pub(crate) fn usual(&self, answer: &Answer) -> Option<Verdict> {
        match answer.status {
            200..=299 => Some(Verdict::Fine),
            401..=403 => Some(self.denied_key()),
            404 => Some(self.denied_model()),
            429 => Some(Verdict::Limited(super::retry::retry_after(answer))),
            503 => Some(Verdict::Down { again: 2 }),
            500 => Some(Verdict::Down { again: 1 }),
            // a gateway in between gave up waiting: the maker may well have finished
            504 => Some(Verdict::Lost),
            501 | 502 | 505..=599 => Some(Verdict::Down { again: 0 }),
            _ => None,
        }
    }

    /// A refusal that blames no field.
    pub(crate) fn failed(&self, retryable: bool) -> MakerError {
        MakerError::failed(self.desk.name, retryable)
    }
}
