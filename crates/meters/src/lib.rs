//! What a process counts of itself, for whoever watches it: names, help texts, labels and handles in one place.
//!
//! [`Meters`] are made once for a process and handed to all of its halves; their clones are the same. Who counts has a handle
//! already: an atomic addition, no text, no lock. What has to be asked for (the queue in the database, models in memory) is
//! set when somebody looks, by [`Meters::when_seen`] or by whoever renders.
//!
//! Every metric begins with `scumble_`, ends with its unit, and counters with `_total`, as Prometheus has it. No label has a
//! value that a caller chooses.

mod declare;
mod label;
mod table;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Encoder, GaugeVec, Histogram, IntCounter, Registry, TextEncoder};

pub use declare::{Amounts, CounterGrid, Counters, Declared, Gauges, HistogramGrid, Histograms, Kind, Vector};
use declare::{Declarations, LONG, SHORT};
pub use label::{
    Cache, Call, Class, Delivery, End, EndpointLabel, Label, Load, Lookup, Loss, Maker, OTHER, Room, Stage,
};
pub use table::{Grid, Table};

/// All metrics of a process. Clones are the same.
#[derive(Clone)]
pub struct Meters(Arc<All>);

/// Something that sets gauges when somebody looks.
type Look = Box<dyn Fn(&All) + Send + Sync>;

/// Every metric there is.
pub struct All {
    registry: Registry,
    declared: BTreeSet<Declared>,
    looks: Mutex<Vec<Look>>,
    /// Which program this is.
    pub build: GaugeVec,
    /// Jobs, their times and their leases.
    pub jobs: Jobs,
    /// What is in the database: set from it, and gone while it does not answer.
    pub census: Census,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// Closed models and what they cost.
    pub makers: Makers,
    /// Models in memory.
    pub models: Models,
    /// What is kept so that it need not be made again.
    pub cache_lookups: CounterGrid<Cache, Lookup>,
    /// How the database works.
    pub store: Store,
    /// Callers.
    pub http: Http,
}

/// Jobs, their times and their leases.
pub struct Jobs {
    /// Accepted here.
    pub accepted: Counters<EndpointLabel>,
    /// Ended here.
    pub ended: CounterGrid<EndpointLabel, End>,
    /// Given back because another attempt may succeed.
    pub again: Counters<EndpointLabel>,
    /// From acceptance to the first attempt.
    pub wait: Histograms<EndpointLabel>,
    /// From the claim to the end of the run.
    pub run: Histograms<EndpointLabel>,
    /// Stages of runs.
    pub stage: HistogramGrid<EndpointLabel, Stage>,
    /// Leases that were lost.
    pub leases_lost: Counters<Loss>,
    /// Places for jobs.
    pub slots: GaugeVec,
}

/// What is in the database.
pub struct Census {
    /// Whether it has answered.
    pub up: GaugeVec,
    /// Jobs that have not ended.
    pub jobs: GaugeVec,
    /// How long the first of the queue has waited.
    pub oldest: GaugeVec,
    /// Webhooks on their way.
    pub webhooks: GaugeVec,
    /// How long the first of these is overdue.
    pub webhooks_late: GaugeVec,
    /// The size of the database.
    pub database_bytes: GaugeVec,
    /// The space that is left for it.
    pub free_bytes: GaugeVec,
    /// Files with a row.
    pub files: GaugeVec,
    /// Their bytes.
    pub file_bytes: GaugeVec,
}

/// Webhooks.
pub struct Webhooks {
    /// Attempts.
    pub attempts: Counters<Delivery>,
    /// How long each took.
    pub seconds: Histogram,
}

/// Closed models.
pub struct Makers {
    /// Calls that have ended.
    pub calls: CounterGrid<Maker, Call>,
    /// How long each took.
    pub seconds: Histograms<Maker>,
    /// What ended jobs have cost, in US dollars.
    pub spend: Amounts<Maker>,
    /// What today has cost.
    pub today: GaugeVec,
}

/// Models in memory.
pub struct Models {
    /// Loads that have ended.
    pub loads: Counters<Load>,
    /// How long those took that succeeded.
    pub seconds: Histogram,
    /// Models that were let go.
    pub let_go: IntCounter,
    /// Those that are there.
    pub loaded: GaugeVec,
    /// What their weights take.
    pub bytes: GaugeVec,
    /// What weights may take.
    pub limit: GaugeVec,
}

/// How the database works.
#[derive(Clone)]
pub struct Store {
    /// Transactions.
    pub commit: Histogram,
    /// Flushes of its log.
    pub flush: Histogram,
    /// Transactions and flushes that failed.
    pub failures: IntCounter,
}

/// Callers.
pub struct Http {
    /// Answers.
    pub responses: Counters<Class>,
    /// Connections that are open.
    pub connections: Gauges<Room>,
    /// How many may be.
    pub connections_limit: GaugeVec,
    /// Connections that were closed at once.
    pub turned_away: IntCounter,
    /// Bytes that are held for callers.
    pub held: GaugeVec,
    /// How many may be.
    pub held_limit: GaugeVec,
}

impl Meters {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new() -> Self {
        let mut to = Declarations::default();
        let (jobs, census) = (Jobs::declare(&mut to), Census::declare(&mut to));
        let (webhooks, makers) = (Webhooks::declare(&mut to), Makers::declare(&mut to));
        let (models, store) = (Models::declare(&mut to), Store::declare(&mut to));
        let http = Http::declare(&mut to);
        let cache_lookups = to.counter_grid((
            "scumble_cache_lookups_total",
            "Looks for something that may be kept: what prompts became, adapters that were downloaded.",
        ));
        let build = to.seen(
            ("scumble_build_info", "1, with the version of the program and what this process does."),
            &["version", "role"],
        );
        let Declarations { registry, all: declared } = to;
        let looks = Mutex::default();
        Self(Arc::new(All {
            registry,
            declared,
            looks,
            build,
            jobs,
            census,
            webhooks,
            makers,
            models,
            cache_lookups,
            store,
            http,
        }))
    }

    /// Has this done whenever somebody looks. It must not wait for anything, nor hold what holds these meters.
    pub fn when_seen(&self, look: impl Fn(&All) + Send + Sync + 'static) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(look));
    }

    /// Sets several gauges that belong together: nobody who looks sees the half of it.
    pub fn change(&self, set: impl FnOnce(&All)) {
        let _nobody_looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        set(self);
    }

    /// All metrics as Prometheus reads them, in the text format of version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        // held to the end: what was set together is shown together
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.iter().for_each(|look| look(self));
        let mut text = Vec::new();
        // a Vec takes everything, and all names are good
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Every metric that there is, by name, whether it has a number by now or not.
    #[must_use]
    pub fn declared(&self) -> &BTreeSet<Declared> {
        &self.declared
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Meters {
    type Target = All;

    fn deref(&self) -> &All {
        &self.0
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

/// Sets a gauge that has no label.
pub fn set(gauge: &GaugeVec, value: f64) {
    gauge.with_label_values::<&str>(&[]).set(value);
}

impl Jobs {
    fn declare(to: &mut Declarations) -> Self {
        Self {
            accepted: to.counters(("scumble_jobs_accepted_total", "Jobs that this process has accepted.")),
            ended: to.counter_grid(("scumble_jobs_ended_total", "Jobs that this process has ended.")),
            again: to.counters((
                "scumble_job_retries_total",
                "Attempts of this worker after which the job went back to the queue, because another may succeed.",
            )),
            wait: to.histograms(
                ("scumble_job_wait_seconds", "From a job's acceptance to its first attempt, in this worker."),
                LONG,
            ),
            run: to.histograms(
                ("scumble_job_run_seconds", "From a claim to the end of its run: reading files, loading, drawing."),
                LONG,
            ),
            stage: to
                .histogram_grid(("scumble_job_stage_seconds", "How long each stage of a successful run took."), LONG),
            leases_lost: to.counters((
                "scumble_leases_lost_total",
                "Leases that ended before their job: taken back by this process, or found with another worker.",
            )),
            slots: to.seen(("scumble_worker_slots", "Jobs at once: here (near), and at makers (far)."), &["kind"]),
        }
    }
}

impl Census {
    fn declare(to: &mut Declarations) -> Self {
        Self {
            up: to.seen(("scumble_store_up", "1 if the database has answered in time just now, else 0."), &[]),
            jobs: to.seen(
                ("scumble_jobs", "Jobs that have not ended, in the whole database: queued, leased, running."),
                &["endpoint", "state"],
            ),
            oldest: to.seen(
                ("scumble_queue_oldest_seconds", "How long the first job of the queue waits that may run now."),
                &["endpoint"],
            ),
            webhooks: to.seen(("scumble_webhooks_pending", "Webhooks on their way; 10000 stands for more."), &[]),
            webhooks_late: to.seen(
                ("scumble_webhooks_overdue_seconds", "For how long a webhook is due that nobody has tried."),
                &[],
            ),
            database_bytes: to.seen(("scumble_database_bytes", "The size of the database, its log included."), &[]),
            free_bytes: to.seen(
                ("scumble_database_free_bytes", "Space that is left where the database is, if it is a file."),
                &[],
            ),
            files: to.seen(("scumble_files", "Stored files, counted every ten minutes."), &[]),
            file_bytes: to.seen(("scumble_files_bytes", "Their bytes, counted every ten minutes."), &[]),
        }
    }
}

impl Webhooks {
    fn declare(to: &mut Declarations) -> Self {
        Self {
            attempts: to.counters(("scumble_webhook_attempts_total", "Attempts to deliver a webhook.")),
            seconds: to.histogram(
                ("scumble_webhook_attempt_seconds", "How long each attempt took, the receiver's answer included."),
                LONG,
            ),
        }
    }
}

impl Makers {
    fn declare(to: &mut Declarations) -> Self {
        Self {
            calls: to.counter_grid(("scumble_maker_calls_total", "Calls of makers that have ended.")),
            seconds: to.histograms(("scumble_maker_call_seconds", "How long each call of a maker took."), LONG),
            spend: to.amounts((
                "scumble_maker_spend_usd_total",
                "What jobs have cost at makers, in US dollars; counted when they end.",
            )),
            today: to.seen(
                (
                    "scumble_maker_spend_today_usd",
                    "What this process counts against [limits] spend_per_day, in US dollars since midnight (UTC).",
                ),
                &["maker"],
            ),
        }
    }
}

impl Models {
    fn declare(to: &mut Declarations) -> Self {
        Self {
            loads: to.counters(("scumble_model_loads_total", "Loads of models that have ended.")),
            seconds: to.histogram(("scumble_model_load_seconds", "How long successful loads took."), LONG),
            let_go: to.counter((
                "scumble_models_let_go_total",
                "Models that were let go: others needed the room, or nobody used them.",
            )),
            loaded: to.seen(("scumble_models_loaded", "Models in memory."), &["device"]),
            bytes: to.seen(
                ("scumble_model_bytes", "What the weights of models take in memory, loads under way included."),
                &["device"],
            ),
            limit: to.seen(("scumble_model_bytes_limit", "What weights may take there."), &["device"]),
        }
    }
}

impl Store {
    fn declare(to: &mut Declarations) -> Self {
        Self {
            commit: to.histogram(
                (
                    "scumble_store_commit_seconds",
                    "SQLite: a transaction of up to 256 writes, without its flush. PostgreSQL: one write, with its flush.",
                ),
                SHORT,
            ),
            flush: to.histogram(("scumble_store_flush_seconds", "A flush of SQLite's log to the disk."), SHORT),
            failures: to.counter(("scumble_store_failures_total", "Transactions and flushes that failed.")),
        }
    }
}

impl Http {
    fn declare(to: &mut Declarations) -> Self {
        Self {
            responses: to.counters(("scumble_http_responses_total", "Answers, by the first digit of their status.")),
            connections: to.gauges(("scumble_connections", "Open connections.")),
            connections_limit: to.seen(("scumble_connections_limit", "How many may be open and served."), &[]),
            turned_away: to.counter((
                "scumble_connections_turned_away_total",
                "Connections that were closed at once, because there are too many.",
            )),
            held: to.seen(
                ("scumble_held_bytes", "Bytes that are held for callers: bodies, messages, pictures on their way."),
                &[],
            ),
            held_limit: to.seen(("scumble_held_bytes_limit", "How many may be ([limits] memory_bytes)."), &[]),
        }
    }
}
