//! What a running job tells the queue, and what the queue tells it.
//!
//! The thread that computes must never wait for the database: its words are collected and written with the next
//! heartbeat, at most a few times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use scumble_engine::{Pixels, Stage};
use scumble_meters::{Cache, Lookup, Meters};
use scumble_store::{Beat, Change, Clock, EventKind, Lease, Level, NewEvent, Result, Store};
use tokio::sync::broadcast::Receiver;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::hear::hear;
use crate::preview::{self, is_shown};
use crate::runner::{Boxed, Watch};
use crate::work::Worker;

/// Pause between two writes of collected events.
const FLUSH: Duration = Duration::from_millis(200);

pub(crate) struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lease: Arc<Lease>,
    pending: Mutex<Vec<NewEvent>>,
    /// Held by whoever has taken events and writes them: those that come later must not get there first.
    writing: AsyncMutex<()>,
    /// Whether anybody looks at previews.
    watched: bool,
    /// The newest preview that was not written yet, and when it was made. Older ones nobody needs.
    preview: Mutex<Option<(i64, Pixels)>>,
    wake: Notify,
    cancelled: AtomicBool,
    lost: AtomicBool,
    stopping: AtomicBool,
    /// The run has taken all the time that it may.
    expired: AtomicBool,
    meters: Meters,
}

impl Journal {
    pub(crate) fn new(worker: &Worker, lease: Arc<Lease>) -> Self {
        Self {
            store: worker.store.clone(),
            clock: worker.clock.clone(),
            watched: lease.job.options["stream"] == true,
            cancelled: AtomicBool::new(lease.job.cancel_requested),
            lease,
            pending: Mutex::default(),
            writing: AsyncMutex::default(),
            preview: Mutex::default(),
            wake: Notify::new(),
            lost: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            meters: worker.config.meters.clone(),
        }
    }

    /// Keeps the lease alive and writes events until it is aborted.
    async fn beat(
        self: Arc<Self>,
        mut changes: Receiver<Change>,
        every: Duration,
        lease_ms: i64,
        stop: CancellationToken,
    ) {
        // the claim was the first sign of life
        let mut heartbeat = interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                _ = heartbeat.tick() => self.heed(self.store.heartbeat(&self.lease, lease_ms).await),
                () = self.wake.notified() => {
                    tokio::time::sleep(FLUSH).await;
                    let flushed = self.flush().await;
                    self.heed(flushed.map(|()| Beat::Alive { cancel_requested: false }));
                }
                // a wish to cancel should not wait for the next heartbeat; the database knows whether there is one
                () = hear(&mut changes, |change| *change == Change::Cancelling(self.lease.job.id)) => {
                    self.heed(self.store.heartbeat(&self.lease, lease_ms).await);
                }
                () = stop.cancelled(), if !self.is_stopping() => self.stopping.store(true, Ordering::Release),
            }
        }
    }

    /// Writes what was collected.
    async fn flush(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        let mut events = self.take_pending();
        let preview = self.preview.lock().unwrap_or_else(PoisonError::into_inner).take();
        events.extend(preview.and_then(|(at_ms, pixels)| self.shown(at_ms, pixels)));
        if events.is_empty() {
            return Ok(());
        }
        let beat = self.store.log(&self.lease, events).await?;
        self.heed(Ok(beat));
        Ok(())
    }

    /// Writes what was collected before the job goes back. A few lines of log are not worth the work of an attempt.
    pub(crate) async fn flush_if_possible(&self) {
        if let Err(error) = self.flush().await {
            tracing::warn!(job.id = %self.lease.job.id, %error, "the last lines of a job's log are lost");
        }
    }

    /// What was collected and not yet written, once everything before it is; it is the caller's now. A preview is of no
    /// use any more.
    pub(crate) async fn last_words(&self) -> Vec<NewEvent> {
        let _writing = self.writing.lock().await;
        self.take_pending()
    }

    fn take_pending(&self) -> Vec<NewEvent> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether somebody else has the job now.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether this process stops and the job should go back.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether the caller has asked to cancel.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Tells the run that this process stops.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Tells the run that its time is over.
    pub(crate) fn expire(&self) {
        self.expired.store(true, Ordering::Release);
    }

    fn heed(&self, beat: Result<Beat>) {
        match beat {
            Ok(Beat::Alive { cancel_requested: false }) => {}
            Ok(Beat::Alive { cancel_requested: true }) => self.cancelled.store(true, Ordering::Release),
            Ok(Beat::Lost) => self.lost.store(true, Ordering::Release),
            // a database that does not answer now may answer in time for the next beat
            Err(error) => tracing::warn!(job.id = %self.lease.job.id, %error, "a sign of life was not sent"),
        }
    }

    /// A preview as an event. It is encoded here and not where it is made: that thread has other things to do.
    fn shown(&self, at_ms: i64, pixels: Pixels) -> Option<NewEvent> {
        match preview::data_uri(pixels) {
            Ok(image) => Some(NewEvent { at_ms, kind: EventKind::Preview { image } }),
            Err(error) => {
                tracing::warn!(job.id = %self.lease.job.id, %error, "a preview could not be encoded");
                None
            }
        }
    }

    fn note(&self, kind: EventKind) {
        let event = NewEvent { at_ms: self.clock.now_ms(), kind };
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.wake.notify_one();
    }
}

/// The signs of life of a running job. They end with this value, whatever ends it: a job that nobody runs any more must
/// not look alive.
pub(crate) struct Pulse {
    journal: Arc<Journal>,
    _beating: AbortOnDropHandle<()>,
}

impl Pulse {
    /// `changes` has to be older than the claim, or a cancel could slip in between.
    pub(crate) fn start(
        journal: &Arc<Journal>,
        changes: Receiver<Change>,
        every: Duration,
        lease_ms: i64,
        stop: CancellationToken,
    ) -> Self {
        let beating = tokio::spawn(journal.clone().beat(changes, every, lease_ms, stop).in_current_span());
        Self { journal: journal.clone(), _beating: AbortOnDropHandle::new(beating) }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // a thread that still computes hears that it may stop
        self.journal.lost.store(true, Ordering::Release);
    }
}

impl Watch for Journal {
    fn stage(&self, stage: Stage) {
        let message = match stage {
            Stage::Load => "loading the model",
            Stage::TextEncode => "encoding the prompt",
            Stage::Denoise => "denoising",
            Stage::Decode => "decoding",
        };
        self.log(message);
    }

    fn step(&self, done: usize, total: usize, preview: &dyn Fn() -> Option<Pixels>) {
        if self.watched
            && is_shown(done, total)
            && let Some(pixels) = preview()
        {
            *self.preview.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.clock.now_ms(), pixels));
        }
        let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let stage = Stage::Denoise.name().to_owned();
        self.note(EventKind::Progress { stage, done: whole(done), total: whole(total) });
    }

    fn log(&self, message: &str) {
        self.note(EventKind::Log { level: Level::Info, message: message.to_owned() });
    }

    fn warn(&self, message: &str) {
        self.note(EventKind::Log { level: Level::Warn, message: message.to_owned() });
    }

    fn looked_up(&self, cache: Cache, found: Lookup) {
        self.meters.cache_lookups.of(cache, found).inc();
    }

    fn resumes(&self) -> bool {
        (self.is_lost() || self.is_stopping()) && !self.cancelled.load(Ordering::Acquire)
    }

    fn submitted<'a>(&'a self, maker: &'a str, ticket: &'a str) -> Boxed<'a, std::result::Result<(), String>> {
        Box::pin(async move {
            let kind = EventKind::Submitted { maker: maker.to_owned(), ticket: ticket.to_owned() };
            let event = NewEvent { at_ms: self.clock.now_ms(), kind };
            match self.store.log(&self.lease, vec![event]).await {
                Ok(beat @ Beat::Alive { .. }) => {
                    self.heed(Ok(beat));
                    Ok(())
                }
                Ok(Beat::Lost) => {
                    self.heed(Ok(Beat::Lost));
                    Err("another worker has the job".to_owned())
                }
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn cancelled(&self) -> bool {
        let set = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        set(&self.cancelled) || set(&self.lost) || set(&self.stopping) || set(&self.expired)
    }
}
