//! Measures the store in SQLite: how many jobs a second it accepts, and how long a claim takes however long the queue.
//!
//! `cargo run --release -p scumble-store --example measure-sqlite -- [FOLDER]`

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scumble_store::{
    Admission, Beat, Claim, Claimable, Finish, NewJob, Options, Outcome, Retention, SqliteStore, Store,
};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CALLERS: usize = 64;
const ENQUEUES: usize = 20_000;
const DEEP: usize = 100_000;
const LIVES: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(folder)?;
    let open = async |name: &str| -> Result<Arc<dyn Store>> {
        let store = SqliteStore::open(folder.path().join(name), Options::default()).await?;
        let store: Arc<dyn Store> = Arc::new(store);
        Ok(store)
    };

    let store = open("enqueue.db").await?;
    let took = fill(&store, ENQUEUES, 1).await?;
    say(&format!("enqueue: {CALLERS} at once, {:.0} a second", ENQUEUES as f64 / took.as_secs_f64()))?;

    let store = open("life.db").await?;
    for (name, times) in life(&*store).await? {
        say(&format!("{name}: {}", spread(times)))?;
    }
    for keys in [1, 50] {
        let store = open(&format!("deep-{keys}.db")).await?;
        fill(&store, DEEP, keys).await?;
        say(&format!("claim, {DEEP} queued by {keys} keys: {}", spread(claims(&*store).await?)))?;
        let per_key = Claim { per_key: Some(1), ..claim() };
        say(&format!("claim of nothing, every key at its limit: {}", spread(claims_of(&*store, &per_key).await?)))?;
        let began = Instant::now();
        store.purge(Retention { kept_ms: Some(0), unkept_ms: 0 }, 1_000).await?;
        say(&format!("purge of nothing: {:.3} ms", ms(began.elapsed())))?;
    }
    Ok(())
}

/// Enqueues so many jobs, many callers at once.
async fn fill(store: &Arc<dyn Store>, jobs: usize, keys: usize) -> Result<Duration> {
    let began = Instant::now();
    let callers = (0..CALLERS).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..jobs / CALLERS {
                let key_id = Some(format!("key-{}", (i * CALLERS + caller) % keys));
                store.enqueue(NewJob { key_id, ..new_job() }, Admission::default()).await?;
            }
            Ok::<_, scumble_store::Error>(())
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await??;
    }
    Ok(began.elapsed())
}

/// One job after the other, from acceptance to outcome; how long each step took.
async fn life(store: &dyn Store) -> Result<Vec<(&'static str, Vec<Duration>)>> {
    let mut steps =
        ["enqueue alone", "claim", "start", "finish", "look", "a whole life"].map(|name| (name, Vec::new()));
    for _ in 0..LIVES {
        let mut marks = vec![Instant::now()];
        store.enqueue(new_job(), Admission::default()).await?;
        marks.push(Instant::now());
        let lease = store.claim(&claim()).await?.ok_or("nothing to claim")?;
        marks.push(Instant::now());
        assert_ne!(store.start(&lease).await?, Beat::Lost);
        marks.push(Instant::now());
        assert_eq!(store.finish(&lease, outcome().into()).await?, Finish::Accepted);
        marks.push(Instant::now());
        store.job(lease.job.id).await?;
        marks.push(Instant::now());
        for (step, pair) in steps.iter_mut().zip(marks.windows(2)) {
            step.1.push(pair[1] - pair[0]);
        }
        steps[5].1.push(marks[5] - marks[0]);
    }
    Ok(steps.into())
}

async fn claims(store: &dyn Store) -> Result<Vec<Duration>> {
    claims_of(store, &claim()).await
}

async fn claims_of(store: &dyn Store, claim: &Claim) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..LIVES {
        let began = Instant::now();
        store.claim(claim).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn new_job() -> NewJob {
    let input = json!({"prompt": "two red stars on a blue background", "seed": 7, "num_images": 1, "sync_mode": false});
    NewJob::new("scumble/starter", input)
}

fn claim() -> Claim {
    Claim { worker: "measure/0".to_owned(), endpoints: Claimable::All, lease_ms: 60_000, per_key: None, start: false }
}

fn outcome() -> Outcome {
    Outcome {
        status: 200,
        body: json!({"images": [{"url": "scumble-file:b/1/image.png", "width": 64, "height": 64}], "seed": 7}),
        headers: Default::default(),
        error: None,
        error_type: None,
        inference_ms: Some(3),
    }
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: usize| ms(times[(times.len() - 1) * share / 100]);
    format!("median {:.3} ms, 99th percentile {:.3} ms", at(50), at(99))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
