//! The suite over PostgreSQL, and what is PostgreSQL's own.
//!
//! `SCUMBLE_TEST_POSTGRES` names a database whose user may create schemas, such as
//! `postgres://postgres@127.0.0.1:5432/test`. Every test works in a schema of its own, which is dropped afterwards.
//! Without the variable nothing is tested here, and every test says so.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scumble_store::suite::Place;
use scumble_store::{
    Admission, Change, Claim, Claimable, Enqueued, Error, Finish, Job, JobId, Limits, ManualClock, NewJob, Outcome,
    PostgresOptions, PostgresStore, Release, Result, State, Store, store_suite,
};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::timeout;

store_suite!(match PostgresPlace::new() {
    Some(place) => place,
    None => return Ok(()),
});

/// A schema of a test's own.
struct PostgresPlace {
    /// The database that the schema is in.
    server: String,
    schema: String,
    clock: Arc<ManualClock>,
}

impl PostgresPlace {
    fn new() -> Option<Self> {
        let Ok(server) = std::env::var("SCUMBLE_TEST_POSTGRES") else {
            eprintln!(
                "SKIPPED: this test needs a PostgreSQL database; set SCUMBLE_TEST_POSTGRES, for example to \
                 postgres://postgres@127.0.0.1:5432/test"
            );
            return None;
        };
        let schema = format!("scumble_test_{}", JobId::random().to_string().replace('-', ""));
        Some(Self { server, schema, clock: Arc::new(ManualClock::at(1_700_000_000_000)) })
    }

    fn url(&self) -> String {
        let sign = if self.server.contains('?') { '&' } else { '?' };
        // The connections carry the schema's name, so that they can be found on the server.
        format!("{}{sign}options=-csearch_path%3D{schema}&application_name={schema}", self.server, schema = self.schema)
    }

    async fn open_postgres(&self) -> Result<PostgresStore> {
        self.open_with(PostgresOptions { clock: self.clock.clone(), connections: 8, ..Default::default() }).await
    }

    async fn open_with(&self, options: PostgresOptions) -> Result<PostgresStore> {
        let mut conn = self.connect().await?;
        run(&mut conn, &format!("CREATE SCHEMA IF NOT EXISTS {}", self.schema)).await?;
        PostgresStore::open(&self.url(), options).await
    }

    /// A connection of the test's own.
    async fn connect(&self) -> Result<PgConnection> {
        let options: PgConnectOptions = self.url().parse()?;
        Ok(options.connect().await?)
    }

    /// Cuts every connection of the stores in this schema: how many.
    async fn cut(&self) -> Result<usize> {
        let mut conn = self.connect().await?;
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = $1 AND pid <> pg_backend_pid()";
        Ok(sqlx::query(cut).bind(&self.schema).fetch_all(&mut conn).await?.len())
    }
}

async fn run(conn: &mut PgConnection, sql: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

#[async_trait]
impl Place for PostgresPlace {
    async fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(self.open_postgres().await?))
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

impl Drop for PostgresPlace {
    fn drop(&mut self) {
        // The test's own runtime is about to end, or ends with a panic.
        let dropped = std::thread::scope(|scope| scope.spawn(|| runtime().block_on(self.drop_schema())).join());
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("the schema {} is left behind: {dropped:?}", self.schema);
        }
    }
}

impl PostgresPlace {
    async fn drop_schema(&self) -> Result<()> {
        self.cut().await?;
        let mut conn = self.connect().await?;
        run(&mut conn, &format!("SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {} CASCADE", self.schema)).await
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made")
}

/// A test over a place; it is skipped where there is none.
macro_rules! test {
    ($(#[$attribute:meta])* async fn $name:ident($place:ident) $body:block) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $name() -> Result<()> {
            let Some($place) = PostgresPlace::new() else { return Ok(()) };
            $body
            Ok(())
        }
    };
}

test! {
async fn stores_hear_each_other_and_themselves_once(place) {
    let (a, b) = (place.open_postgres().await?, place.open_postgres().await?);
    let (mut at_a, mut at_b) = (a.changes(), b.changes());
    let id = enqueued(&a, new_job()).await?;
    let expected = HashSet::from([Change::Queued { endpoint: ENDPOINT.to_owned() }, Change::Job(id)]);
    // Here at once, there soon, in whatever order.
    assert_eq!(HashSet::from([at_a.try_recv().expect("heard"), at_a.try_recv().expect("heard")]), expected);
    assert_eq!(HashSet::from([heard(&mut at_b).await, heard(&mut at_b).await]), expected);
    // What comes back to `a` behind a change of `b` would have to be its own.
    let other = enqueued(&b, job_of("other")).await?;
    let expected = HashSet::from([Change::Queued { endpoint: "other".to_owned() }, Change::Job(other)]);
    assert_eq!(HashSet::from([heard(&mut at_a).await, heard(&mut at_a).await]), expected);
    assert!(at_a.try_recv().is_err());
    // a gateway's wish to cancel gets to the worker
    b.claim(&claim_of("w/0", None)).await?.expect("a job");
    a.cancel(id, Outcome { status: Outcome::CANCELLED, ..success() }).await?;
    while heard(&mut at_b).await != Change::Cancelling(id) {}
}
}

test! {
async fn a_claim_race_gives_each_job_once(place) {
    let stores = [Arc::new(place.open_postgres().await?), Arc::new(place.open_postgres().await?)];
    let mut all = HashSet::new();
    for i in 0..300 {
        let key_id = (i % 4 > 0).then(|| format!("key-{}", i % 4));
        all.insert(enqueued(&*stores[0], NewJob { key_id, ..new_job() }).await?);
    }
    let mut claimers = JoinSet::new();
    for i in 0..8 {
        let store = stores[i % 2].clone();
        claimers.spawn(async move {
            let mut ids = Vec::new();
            while let Some(lease) = store.claim(&claim_of(&format!("p{i}/0"), None)).await? {
                ids.push(lease.job.id);
            }
            Ok::<_, Error>(ids)
        });
    }
    let mut claimed = Vec::new();
    for ids in claimers.join_all().await {
        claimed.extend(ids?);
    }
    assert_eq!(claimed.len(), 300);
    assert_eq!(HashSet::from_iter(claimed), all);
}
}

test! {
async fn a_keys_limit_holds_when_many_claim_at_once(place) {
    let stores = [Arc::new(place.open_postgres().await?), Arc::new(place.open_postgres().await?)];
    for i in 0..60 {
        let key_id = Some(format!("key-{}", i % 3));
        enqueued(&*stores[0], NewJob { key_id, ..job_of(&format!("endpoint-{}", i % 2)) }).await?;
    }
    let mut claims = JoinSet::new();
    for i in 0..32 {
        let store = stores[i % 2].clone();
        claims.spawn(async move { store.claim(&claim_of(&format!("p{i}/0"), Some(4))).await });
    }
    let mut at_work = [0; 3];
    for lease in claims.join_all().await {
        if let Some(lease) = lease? {
            let key = lease.job.key_id.expect("every job has one");
            at_work[key["key-".len()..].parse::<usize>().expect("a number")] += 1;
        }
    }
    // Not one more, and nobody was sent away while there was room.
    assert_eq!(at_work, [4, 4, 4]);
}
}

test! {
async fn admission_is_exact_when_many_submit_at_once(place) {
    let stores = [Arc::new(place.open_postgres().await?), Arc::new(place.open_postgres().await?)];
    let waiting = Admission { max_waiting: Some(6), ..Default::default() };
    let answers = submit(&stores, 30, || job_of("other"), &waiting).await?;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Enqueued::New { .. })).count(), 7);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Enqueued::TooManyWaiting(7))).count(), 23);

    let once = scumble_store::Once { word: "word".to_owned(), digest: [1; 32] };
    let once = Admission { once: Some(once), ..Default::default() };
    let answers = submit(&stores, 30, new_job, &once).await?;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Enqueued::New { .. })).count(), 1);
    let ids = answers.iter().map(|answer| match answer {
        Enqueued::New { job, .. } | Enqueued::Repeated(job) => job.id,
        other => panic!("{other:?}"),
    });
    assert_eq!(ids.collect::<HashSet<_>>().len(), 1);
}
}

test! {
async fn admission_counts_strictly_only_near_a_limit(place) {
    let store = place.open_postgres().await?;
    let mut conn = place.connect().await?;
    fill(&mut conn, 1_500, 1).await?;
    let admission = Admission { max_waiting: Some(2_501), ..Admission::default() };
    // 1500 + 1000 of margin is below the limit, the next are not.
    for waiting in 1_500..1_510 {
        let answer = store.enqueue(new_job(), admission.clone()).await?;
        assert!(matches!(answer, Enqueued::New { position, .. } if position == waiting), "{answer:?}");
    }
    fill(&mut conn, 992, 1).await?;
    let refused = store.enqueue(new_job(), admission).await?;
    assert_eq!(refused, Enqueued::TooManyWaiting(2_502));
}
}

test! {
async fn what_waits_is_counted_right(place) {
    let store = place.open_postgres().await?;
    for i in 0..12 {
        let webhook = (i % 2 == 0).then(|| "http://localhost/".to_owned());
        enqueued(&store, NewJob { webhook, ..job_of(&format!("endpoint-{}", i % 2)) }).await?;
    }
    let claim = claim_of("p/0", None);
    let mut leases = Vec::new();
    while leases.len() < 7 {
        leases.extend(store.claim(&claim).await?);
    }
    store.release(&leases[0], Release::Drained).await?;
    store.release(&leases[1], Release::Failed { reason: "no".to_owned(), rest_ms: 5 }).await?;
    store.cancel(leases[0].job.id, success()).await?;
    store.finish(&leases[1], success().into()).await?;
    store.finish(&leases[2], success().into()).await?;
    store.cancel(leases[3].job.id, success()).await?;
    store.enqueue_ended(new_job(), Admission::default(), success()).await?;
    place.clock.advance(30_000);
    store.reclaim_expired(Limits::default(), success()).await?;
    let mut conn = place.connect().await?;
    let counted = "SELECT endpoint, sum(number)::bigint FROM waiting GROUP BY endpoint HAVING sum(number) <> 0 ORDER BY 1";
    let queued = "SELECT endpoint, count(*) FROM jobs WHERE state = 'queued' GROUP BY endpoint ORDER BY 1";
    let counted: Vec<(String, i64)> = sqlx::query_as(counted).fetch_all(&mut conn).await?;
    let queued: Vec<(String, i64)> = sqlx::query_as(queued).fetch_all(&mut conn).await?;
    assert_eq!(counted, queued);
    assert_eq!(queued.iter().map(|(_, jobs)| jobs).sum::<i64>(), 8);
}
}

test! {
async fn cut_connections_lose_nothing_and_disturb_nobody(place) {
    let store = Arc::new(place.open_postgres().await?);
    let (tell, mut finished) = tokio::sync::mpsc::channel(1);
    let mut lives = JoinSet::new();
    for i in 0..8 {
        lives.spawn(live(store.clone(), format!("endpoint-{i}"), tell.clone()));
    }
    drop(tell);
    let (mut ended, mut cut) = (Vec::new(), 0);
    for _ in 0..10 {
        // In the middle of whatever they do after the next few ends.
        for _ in 0..10 {
            ended.push(timeout(Duration::from_secs(60), finished.recv()).await.expect("work goes on").expect("it goes on"));
        }
        cut += place.cut().await?;
    }
    finished.close();
    while let Some(id) = finished.recv().await {
        ended.push(id);
    }
    for lived in lives.join_all().await {
        lived?;
    }
    assert!(cut >= 10, "only {cut} connections were cut");
    for id in ended {
        let job = store.job(id).await?.expect("it was acknowledged");
        let body = job.outcome.map(|outcome| outcome.body);
        assert_eq!((job.state, body), (State::Done, Some(json!({"of": id.to_string()}))));
    }
}
}

/// Enqueues, claims, starts and finishes jobs of its own endpoint until nobody wants to know any more.
async fn live(store: Arc<PostgresStore>, endpoint: String, finished: tokio::sync::mpsc::Sender<JobId>) -> Result<()> {
    let claim = Claim { endpoints: Claimable::Only(vec![endpoint.clone()]), ..claim_of("p/0", None) };
    loop {
        enqueued(&*store, job_of(&endpoint)).await?;
        // A claim whose answer was lost has taken its job with it, until the lease expires.
        let Some(lease) = store.claim(&claim).await? else { continue };
        store.start(&lease).await?;
        let id = lease.job.id;
        let outcome = Outcome { body: json!({"of": id.to_string()}), ..success() };
        assert_eq!(store.finish(&lease, outcome.into()).await?, Finish::Accepted);
        if finished.send(id).await.is_err() {
            return Ok(());
        }
    }
}

test! {
async fn a_listener_that_was_cut_listens_again(place) {
    let (a, b) = (place.open_postgres().await?, place.open_postgres().await?);
    let mut at_b = b.changes();
    assert!(place.cut().await? >= 2);
    // What was told in between is lost, so it is told until it is heard.
    let heard = timeout(Duration::from_secs(20), async {
        loop {
            let id = enqueued(&a, new_job()).await?;
            if timeout(Duration::from_millis(200), at_b.recv()).await.is_ok() {
                return Ok::<_, Error>(id);
            }
        }
    });
    heard.await.expect("it is heard again")?;
}
}

test! {
async fn many_programs_may_begin_at_once(place) {
    let mut conn = place.connect().await?;
    run(&mut conn, &format!("CREATE SCHEMA {}", place.schema)).await?;
    let mut opening = JoinSet::new();
    for _ in 0..6 {
        let url = place.url();
        opening.spawn(async move { PostgresStore::open(&url, PostgresOptions { connections: 1, ..Default::default() }).await });
    }
    for store in opening.join_all().await {
        enqueued(&store?, new_job()).await?;
    }
}
}

test! {
async fn who_only_looks_makes_no_tables(place) {
    let existing = || PostgresOptions { existing: true, connections: 1, ..Default::default() };
    let looked = place.open_with(existing()).await.map(|_| ());
    assert!(matches!(looked, Err(Error::Absent)), "{looked:?}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()";
    let tables: i64 = sqlx::query_scalar(tables).fetch_one(&mut place.connect().await?).await?;
    assert_eq!(tables, 0);
    let job = enqueued(&place.open_postgres().await?, new_job()).await?;
    assert!(place.open_with(existing()).await?.job(job).await?.is_some(), "one that is there is opened");
}
}

test! {
async fn a_newer_database_is_left_alone(place) {
    place.open_postgres().await?.close().await;
    run(&mut place.connect().await?, "INSERT INTO schema_version (version, applied_ms) VALUES (99, 0)").await?;
    let refused = place.open_postgres().await.map(|_| ());
    assert!(matches!(refused, Err(Error::NewerSchema { found: 99, .. })), "{refused:?}");
}
}

test! {
async fn a_database_that_cannot_be_written_says_so(place) {
    place.open_postgres().await?.close().await;
    let url = place.url().replace("options=", "options=-cdefault_transaction_read_only%3Don%20");
    let refused = PostgresStore::open(&url, PostgresOptions::default()).await.map(|_| ());
    assert!(matches!(refused, Err(Error::ReadOnly(_))), "{refused:?}");
}
}

test! {
async fn a_locked_database_is_busy(place) {
    let impatient = PostgresOptions { busy_timeout: Duration::from_millis(1_500), ..Default::default() };
    let store = place.open_with(impatient).await?;
    enqueued(&store, new_job()).await?;
    let mut other = place.connect().await?;
    let mut lock = other.begin().await?;
    sqlx::query("LOCK TABLE jobs").execute(&mut *lock).await?;
    let refused = store.enqueue(new_job(), Admission::default()).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    lock.rollback().await?;
    enqueued(&store, new_job()).await?;
}
}

test! {
async fn a_schema_that_is_not_there_is_named(place) {
    let refused = PostgresStore::open(&place.url(), PostgresOptions::default()).await.map(|_| ());
    assert!(matches!(&refused, Err(Error::Url(reason)) if reason.contains("CREATE SCHEMA")), "{refused:?}");
}
}

test! {
async fn whoever_is_not_let_in_is_told_so_without_the_password(place) {
    let (_, rest) = place.server.split_once("://").expect("it is a URL");
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let url = format!("postgres://scumble_nobody:{PASSWORD}@{host}");
    let refused = PostgresStore::open(&url, PostgresOptions::default()).await.map(|_| ());
    assert!(matches!(&refused, Err(Error::Refused(_))), "{refused:?}");
    check_silent(refused);
}
}

test! {
async fn zeros_do_not_stop_a_job(place) {
    let store = place.open_postgres().await?;
    let new = NewJob {
        key_id: Some("k\0".to_owned()), webhook: Some("http://x/\0".to_owned()), hint: Some("\0".to_owned()),
        ..NewJob::new("e\0", json!({"prompt": "\0"}))
    };
    let id = enqueued(&store, new).await?;
    let claim = Claim { endpoints: Claimable::Only(vec!["e\0".to_owned()]), ..claim_of("p\0/0", Some(1)) };
    let lease = store.claim(&claim).await?.expect("it was just enqueued");
    assert_eq!((lease.job.id, &lease.job.input), (id, &json!({"prompt": "\0"})));
    let outcome = Outcome { body: json!({"x": "\0"}), error: Some("a\0b".to_owned()), ..success() };
    assert_eq!(store.finish(&lease, outcome.into()).await?, Finish::Accepted);
    let ended = store.job(id).await?.and_then(|job| job.outcome).expect("it has ended");
    assert_eq!((ended.body, ended.error.as_deref()), (json!({"x": "\0"}), Some("a\u{fffd}b")));
    assert_eq!(store.file("b/\0").await?, None);
}
}

test! {
async fn claims_in_a_long_queue_touch_few_rows(place) {
    let store = place.open_postgres().await?;
    // Plans are made while the queue is short, and there are no statistics.
    enqueued(&store, new_job()).await?;
    assert!(store.claim(&claim_of("p/0", Some(8))).await?.is_some());
    let mut conn = place.connect().await?;
    fill(&mut conn, 100_000, 20).await?;
    let mut tx = conn.begin().await?;
    sqlx::raw_sql("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off").execute(&mut *tx).await?;
    let only = Some(vec!["endpoint-3".to_owned(), "endpoint-4".to_owned()]);
    for only in [None, only] {
        let claimed = sqlx::query("SELECT id FROM claim(1700000000000, 'p/1', 'p', $1, 1700000030000, 8, 1000, 0)")
            .bind(only)
            .fetch_all(&mut *tx)
            .await?;
        assert_eq!(claimed.len(), 1);
    }
    let (read, fetched): (i64, i64) =
        sqlx::query_as("SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'jobs'::regclass")
            .fetch_one(&mut *tx)
            .await?;
    assert!(read == 0 && fetched < 1_000, "{read} rows were read in order, {fetched} by an index");
}
}

#[tokio::test]
async fn nobody_there_is_told_without_the_password() {
    // Whoever asked for a free port gives it back before it is tried.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it is bound").port()
    };
    let url = format!("postgres://somebody:{PASSWORD}@127.0.0.1:{port}/scumble");
    let refused = PostgresStore::open(&url, PostgresOptions::default()).await.map(|_| ());
    assert!(matches!(&refused, Err(Error::NoAnswer(_))), "{refused:?}");
    check_silent(refused);
}

#[tokio::test]
async fn wrong_urls_are_refused_without_the_password() {
    for url in [
        format!("mysql://somebody:{PASSWORD}@localhost/scumble"),
        format!("postgres://somebody:{PASSWORD}@localhost:port/scumble"),
        format!("postgres://somebody:{PASSWORD}@[localhost/scumble"),
        format!("postgres://somebody@localhost/scumble?pasword={PASSWORD}"),
        format!("postgres://somebody:{PASSWORD}@localhost/scumble?sslmode=sometimes"),
        format!("postgres://somebody:{PASSWORD}%ff@localhost/scumble"),
    ] {
        let refused = PostgresStore::open(&url, PostgresOptions::default()).await.map(|_| ());
        assert!(matches!(&refused, Err(Error::Url(_))), "{refused:?}");
        check_silent(refused);
    }
}

test! {
#[ignore = "measures; run it alone, with --nocapture"]
async fn how_fast(place) {
    let store = Arc::new(place.open_with(PostgresOptions::default()).await?);
    for tasks in [16, 64] {
        measure(&store, tasks, Admission::default()).await?;
    }
    measure(&store, 64, Admission { max_waiting: Some(100_000), ..Default::default() }).await?;
    let mut conn = place.connect().await?;
    fill(&mut conn, 100_000, 20).await?;
    measure(&store, 16, Admission::default()).await?;
    let begin = std::time::Instant::now();
    for _ in 0..200 {
        assert!(store.claim(&claim_of("p/0", None)).await?.is_some());
    }
    eprintln!("claims among 100000, one after the other: {:?} each", begin.elapsed() / 200);
}
}

async fn measure(store: &Arc<PostgresStore>, tasks: usize, admission: Admission) -> Result<()> {
    const LONG: Duration = Duration::from_secs(4);
    let begin = std::time::Instant::now();
    let mut callers = JoinSet::new();
    for i in 0..tasks {
        let (store, admission) = (store.clone(), admission.clone());
        callers.spawn(async move {
            let mut took = Vec::new();
            while begin.elapsed() < LONG {
                let before = std::time::Instant::now();
                store.enqueue(job_of(&format!("endpoint-{}", i % 4)), admission.clone()).await?;
                took.push(before.elapsed());
            }
            Ok::<_, Error>(took)
        });
    }
    let mut took = Vec::new();
    for times in callers.join_all().await {
        took.extend(times?);
    }
    took.sort();
    let per_second = took.len() as f64 / begin.elapsed().as_secs_f64();
    eprintln!(
        "{tasks} tasks, {admission:?}: {per_second:.0} enqueues/s, p50 {:?}, p99 {:?}",
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
    Ok(())
}

const ENDPOINT: &str = "fal-ai/flux/schnell";

const PASSWORD: &str = "hunter2-and-more";

/// Neither what is shown to people nor what is logged has the password.
fn check_silent(refused: Result<()>) {
    let Err(error) = refused else { panic!("it was let in") };
    for text in [error.to_string(), format!("{error:?}"), format!("{error:#?}")] {
        assert!(!text.contains(PASSWORD) && !text.contains("hunter2"), "{text}");
    }
}

/// The next change, which has to come.
async fn heard(changes: &mut tokio::sync::broadcast::Receiver<Change>) -> Change {
    let change = timeout(Duration::from_secs(20), changes.recv()).await.expect("it comes in time");
    change.expect("the store is open")
}

fn new_job() -> NewJob {
    job_of(ENDPOINT)
}

fn job_of(endpoint: &str) -> NewJob {
    NewJob::new(endpoint, json!({"prompt": "two red stars"}))
}

async fn enqueued(store: &dyn Store, new: NewJob) -> Result<JobId> {
    match store.enqueue(new, Admission::default()).await? {
        Enqueued::New { job: Job { id, .. }, .. } => Ok(id),
        other => panic!("the job was not accepted: {other:?}"),
    }
}

/// Submits as many jobs at the same time, through several stores.
async fn submit(
    stores: &[Arc<PostgresStore>; 2],
    jobs: usize,
    new: impl Fn() -> NewJob,
    admission: &Admission,
) -> Result<Vec<Enqueued>> {
    let mut submits = JoinSet::new();
    for i in 0..jobs {
        let (store, new, admission) = (stores[i % 2].clone(), new(), admission.clone());
        submits.spawn(async move { store.enqueue(new, admission).await });
    }
    submits.join_all().await.into_iter().collect()
}

/// Queues many jobs of several keys and endpoints past the store, because that takes its time.
async fn fill(conn: &mut PgConnection, jobs: i64, keys: i64) -> Result<()> {
    sqlx::query(
        "WITH new AS ( \
             INSERT INTO jobs (id, endpoint, key_id, priority, keep_io, state, created_ms) \
             SELECT gen_random_uuid()::text, CASE $2::bigint WHEN 1 THEN $3 ELSE 'endpoint-' || i % 10 END, \
                    'key-' || i % $2, 0, true, 'queued', 0 \
             FROM generate_series(1, $1) AS i RETURNING seq, endpoint \
         ), counted AS ( \
             INSERT INTO waiting (endpoint, priority, shard, number) \
             SELECT endpoint, 0, -pg_backend_pid(), count(*) FROM new GROUP BY endpoint \
             ON CONFLICT (endpoint, priority, shard) DO UPDATE SET number = waiting.number + excluded.number \
         ) INSERT INTO inputs (job_seq, input, options) SELECT seq, '{}', '{}' FROM new",
    )
    .bind(jobs)
    .bind(keys)
    .bind(ENDPOINT)
    .execute(conn)
    .await?;
    Ok(())
}

fn claim_of(worker: &str, per_key: Option<u32>) -> Claim {
    Claim { worker: worker.to_owned(), endpoints: Claimable::All, lease_ms: 30_000, per_key, start: false }
}

fn success() -> Outcome {
    Outcome {
        status: 200,
        body: json!({}),
        headers: Default::default(),
        error: None,
        error_type: None,
        inference_ms: None,
    }
}
