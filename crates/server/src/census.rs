//! What is in the database, for whoever watches: looked at when somebody does, at most every few seconds, and never for
//! longer than they wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use scumble_meters::{Census as Gauges, EndpointLabel, set};
use scumble_store::{Census, Result, Store};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::state::AppState;

/// For so long what was seen is shown again.
const FRESH: Duration = Duration::from_secs(5);

/// A database that takes longer for it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Files are many and change slowly: they are counted so often,
const FILES_FRESH: Duration = Duration::from_secs(600);
/// so many at a time,
const FILES_AT_ONCE: u32 = 2_000;
/// with a pause in which others read.
const FILES_PAUSE: Duration = Duration::from_millis(50);

/// When somebody looked last.
#[derive(Default)]
pub(crate) struct Look {
    /// Held by who looks: nobody asks a database that has not answered the one before.
    census: Arc<Mutex<Option<Instant>>>,
    files: Arc<Mutex<Option<Instant>>>,
    counting: Arc<AtomicBool>,
}

impl Look {
    /// Sets the gauges of the database. They are gone where it does not answer in time.
    pub(crate) async fn refresh(&self, state: &AppState) {
        if let Ok(mut taken) = self.census.clone().try_lock_owned() {
            if taken.is_some_and(|at| at.elapsed() < FRESH) {
                return;
            }
            let state = state.clone();
            // a task of its own: who waits no longer leaves it to its end
            tokio::spawn(async move {
                let meters = &state.config.meters;
                *taken = match state.store.census().await {
                    Ok(census) => {
                        let (now_ms, free) = (state.clock.now_ms(), state.store.free_bytes().ok().flatten());
                        meters.change(|all| show(&all.census, &census, free, now_ms));
                        Some(Instant::now())
                    }
                    Err(error) => {
                        tracing::debug!(%error, "what is in the database cannot be counted");
                        meters.change(|all| away(&all.census));
                        None
                    }
                };
            });
        }
        if timeout(PATIENCE, self.census.lock()).await.is_err() {
            state.config.meters.change(|all| away(&all.census));
        }
        self.count_files(state).await;
    }

    /// Begins to count files, if that was not done for a while.
    async fn count_files(&self, state: &AppState) {
        let is_fresh = self.files.lock().await.is_some_and(|at| at.elapsed() < FILES_FRESH);
        if is_fresh || self.counting.swap(true, Ordering::AcqRel) {
            return;
        }
        let (state, files, counting) = (state.clone(), self.files.clone(), self.counting.clone());
        tokio::spawn(async move {
            match files_of(&*state.store).await {
                Ok((number, bytes)) => {
                    set(&state.config.meters.census.files, number as f64);
                    set(&state.config.meters.census.file_bytes, bytes as f64);
                    *files.lock().await = Some(Instant::now());
                }
                Err(error) => tracing::debug!(%error, "files cannot be counted"),
            }
            counting.store(false, Ordering::Release);
        });
    }
}

async fn files_of(store: &dyn Store) -> Result<(u64, u64)> {
    let (mut files, mut bytes, mut after) = (0_u64, 0_u64, None);
    loop {
        let part = store.count_files(after, FILES_AT_ONCE).await?;
        files = files.saturating_add(part.files);
        bytes = bytes.saturating_add(part.bytes);
        if part.files < u64::from(FILES_AT_ONCE) {
            return Ok((files, bytes));
        }
        after = part.last;
        sleep(FILES_PAUSE).await;
    }
}

fn show(to: &Gauges, census: &Census, free_bytes: Option<u64>, now_ms: i64) {
    let seconds = |since_ms: i64| now_ms.saturating_sub(since_ms).max(0) as f64 / 1000.0;
    let named = |endpoint: &str| EndpointLabel::of(endpoint).value();
    to.jobs.reset();
    for count in &census.jobs {
        to.jobs.with_label_values(&[named(&count.endpoint), count.state.as_str()]).add(count.jobs as f64);
    }
    to.oldest.reset();
    for first in &census.oldest {
        let gauge = to.oldest.with_label_values(&[named(&first.endpoint)]);
        gauge.set(gauge.get().max(seconds(first.created_ms)));
    }
    set(&to.webhooks, census.deliveries as f64);
    set(&to.webhooks_late, census.delivery_due_ms.map_or(0.0, seconds));
    set(&to.database_bytes, census.database_bytes as f64);
    if let Some(bytes) = free_bytes {
        set(&to.free_bytes, bytes as f64);
    }
    set(&to.up, 1.0);
}

/// What was true before the database went away may be wrong by now.
fn away(of: &Gauges) {
    let all = [&of.jobs, &of.oldest, &of.webhooks, &of.webhooks_late, &of.database_bytes, &of.free_bytes];
    for gauge in all {
        gauge.reset();
    }
    set(&of.up, 0.0);
}
