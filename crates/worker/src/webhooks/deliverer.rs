//! The loop: claim what is due, run it, until told to stop.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use scumble_fetch::Fetcher;
use scumble_files::Files;
use scumble_meters::Meters;
use scumble_store::{Change, Clock, Delivery, DeliveryLease, Result, Store};
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::lanes::{Claimed, Lanes};
use super::schedule;
use crate::faults::Faults;
use crate::hear::hear;
use crate::work::Worker;

/// Beyond its attempt, what a lease has to cover: waiting for others, and writing down how it went. As long again as the
/// attempt may take, within these bounds.
const MARGIN: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(30);

/// Between two looks: what is due and was not claimed is somebody else's for the moment.
const SHORTEST_PAUSE_MS: i64 = 10;

/// Once this process stops, attempts at hand get this long to end.
const LAST_ATTEMPTS: Duration = Duration::from_secs(5);

/// Delivers webhooks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deliverer {
    pub(super) store: Arc<dyn Store>,
    pub(super) files: Files,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fetcher: Fetcher,
    pub(super) timeout: Duration,
    pub(super) faults: Faults,
    pub(super) meters: Meters,
    poll: Duration,
}

/// Attempts at hand; each ends with the URL that it was for.
type Attempts = JoinSet<String>;

impl Deliverer {
    /// On the store and files of a worker.
    pub(crate) fn new(worker: &Worker) -> Self {
        let config = &worker.config.webhooks;
        let fetcher = Fetcher::new(scumble_fetch::Config { allow_private: config.allow_private, ..Default::default() });
        Self {
            store: worker.store.clone(),
            files: worker.files.clone(),
            clock: worker.clock.clone(),
            fetcher,
            timeout: config.timeout,
            faults: worker.config.faults.clone(),
            meters: worker.config.meters.clone(),
            poll: worker.config.poll,
        }
    }

    /// Delivers until `drain` is cancelled, then lets the attempts at hand end, for a few seconds at most. Once `stop`
    /// is cancelled, they end at once. What was not delivered is, by whoever runs next.
    pub(crate) async fn run(self, drain: CancellationToken, stop: CancellationToken) {
        let (stop, mut lanes, mut attempts) = (stop.child_token(), Lanes::default(), Attempts::new());
        // ask to be woken before looking, so that nothing slips in between
        let mut changes = self.store.changes();
        let mut look = true;
        while !drain.is_cancelled() {
            if look {
                look = self.claim(&mut lanes, &mut attempts, &stop).await;
            }
            tokio::select! {
                ended = attempts.join_next(), if !attempts.is_empty() => {
                    self.next_in_lane(ended, &mut lanes, &mut attempts, &stop);
                }
                // where there is no room, there is nothing to look for
                () = self.due(&mut changes), if lanes.room() > 0 => look = true,
                () = drain.cancelled() => {}
            }
        }
        let all = async { while attempts.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ATTEMPTS, all).await.is_err() {
            stop.cancel();
            while attempts.join_next().await.is_some() {}
        }
    }

    /// Claims what is due and begins with what there is room for. True when there may be more.
    async fn claim(&self, lanes: &mut Lanes, attempts: &mut Attempts, stop: &CancellationToken) -> bool {
        while lanes.room() > 0 {
            let limit = lanes.room();
            let claimed = match self.claim_some(limit).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(%error, "cannot look for webhooks to deliver");
                    return false;
                }
            };
            let found = claimed.len();
            for claimed in claimed {
                if let Some(claimed) = lanes.admit(claimed) {
                    self.begin(claimed, attempts, stop);
                }
            }
            if found < limit {
                return false;
            }
        }
        true
    }

    async fn claim_some(&self, limit: usize) -> Result<Vec<Claimed>> {
        let now_ms = self.clock.now_ms();
        let lasts = |attempt| {
            let timeout = schedule::timeout(attempt, self.timeout);
            ms(timeout + margin(timeout))
        };
        let lease = DeliveryLease { first_ms: lasts(1), later_ms: lasts(u32::MAX) };
        let claimed = self.store.claim_deliveries(u32::try_from(limit).unwrap_or(u32::MAX), lease).await?;
        let needed_ms = |delivery: &Delivery| {
            // attempts that nobody noted make the number too high here, and the lease longer than needed
            ms(schedule::timeout(u32::try_from(delivery.attempt).unwrap_or(u32::MAX), self.timeout))
        };
        let claimed = claimed.into_iter().map(|delivery| Claimed {
            begin_by_ms: now_ms.saturating_add(lease.at(delivery.attempt) - needed_ms(&delivery)),
            delivery,
        });
        Ok(claimed.collect())
    }

    fn begin(&self, claimed: Claimed, attempts: &mut Attempts, stop: &CancellationToken) {
        let (deliverer, stop, Claimed { delivery, .. }) = (self.clone(), stop.clone(), claimed);
        attempts.spawn(async move {
            let url = delivery.url.clone();
            let span = tracing::error_span!("webhook", job.id = %delivery.job_id);
            let attempt = async move { deliverer.attempt(&delivery, &stop).await };
            // a panic ends the attempt, not the place it has taken
            let attempt = tokio::spawn(attempt.instrument(span.clone()));
            if let Err(error) = AbortOnDropHandle::new(attempt).await {
                span.in_scope(|| tracing::error!(%error, "an attempt to deliver a webhook ended unexpectedly"));
            }
            url
        });
    }

    fn next_in_lane(
        &self,
        ended: Option<std::result::Result<String, tokio::task::JoinError>>,
        lanes: &mut Lanes,
        attempts: &mut Attempts,
        stop: &CancellationToken,
    ) {
        let Some(Ok(url)) = ended else { return };
        if let Some(next) = lanes.ended(&url, self.clock.now_ms()) {
            self.begin(next, attempts, stop);
        }
    }

    /// Until something may be due.
    async fn due(&self, changes: &mut Receiver<Change>) {
        let pause = match self.store.next_delivery_ms().await {
            Ok(Some(at_ms)) => {
                let pause_ms = at_ms.saturating_sub(self.clock.now_ms()).max(SHORTEST_PAUSE_MS);
                Duration::from_millis(pause_ms.unsigned_abs()).min(self.poll)
            }
            // another process may add some without a word
            Ok(None) => self.poll,
            Err(error) => {
                tracing::error!(%error, "cannot look for webhooks to deliver");
                self.poll
            }
        };
        tokio::select! {
            () = hear(changes, |change| *change == Change::Delivery) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What a lease has beyond an attempt that may take so long.
pub(super) fn margin(timeout: Duration) -> Duration {
    timeout.clamp(*MARGIN.start(), *MARGIN.end())
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
