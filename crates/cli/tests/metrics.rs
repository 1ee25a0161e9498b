//! `/metrics` of the real process: on its own address, of a worker, and while the database hangs.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Desk, plain, star, succeeded};

async fn text(url: &str) -> String {
    let answer = plain().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    answer.text().await.unwrap()
}

fn metrics_url(printed: &str) -> String {
    let line = printed.lines().find_map(|line| line.strip_prefix("Metrics are at "));
    line.unwrap_or_else(|| panic!("no address in {printed}")).to_owned()
}

#[tokio::test]
async fn they_have_an_address_of_their_own() {
    let desk = Desk::new();
    desk.write("scumble.toml", "[metrics]\nlisten = \"127.0.0.1:0\"\n");
    let mut serving = desk.serve(&["--config", "scumble.toml", "--stand-in"]);
    let url = metrics_url(&serving.prints("/metrics\n"));
    let key = common::succeeded(&desk.scumble(&["keys", "create", "--data-dir", "data"]));
    let called = plain().post(serving.url("/run/fal-ai/flux/schnell")).json(&star());
    let called = called.header("authorization", format!("Key {}", key.trim())).send().await.unwrap();
    assert_eq!(called.status(), 200);
    assert_eq!(plain().get(serving.url("/metrics")).send().await.unwrap().status(), 401);
    let seen = text(&url).await;
    assert!(seen.contains("scumble_jobs_accepted_total{endpoint=\"fal-ai/flux/schnell\"} 1"), "{seen}");
    assert!(seen.contains("role=\"all\""), "{seen}");
}

#[test]
fn an_address_that_is_taken_is_told() {
    let desk = Desk::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--metrics-listen", &address];
    desk.refuses(&args, 4, &[&address, "is in use", "--metrics-listen"]);
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--metrics-listen", "nowhere"];
    desk.refuses(&args, 2, &["nowhere", "expected a port"]);
}

#[test]
fn a_key_that_is_misspelt_in_the_settings_is_told() {
    let desk = Desk::new();
    desk.write("scumble.toml", "[metrics]\nkey = \"x\"\n");
    desk.refuses(&["serve", "--data-dir", "data", "--config", "scumble.toml"], 2, &["line 2", "keys"]);
}

/// Its readers would be told no more than that they may not.
#[test]
fn a_key_that_is_not_there_is_told_before_anybody_is_shut_out() {
    let desk = Desk::new();
    let key = |label: &str| {
        let key = succeeded(&desk.scumble(&["keys", "create", "--label", label, "--data-dir", "data"]));
        key.split(':').next().unwrap().to_owned()
    };
    let (good, old) = (key("good"), key("old"));
    succeeded(&desk.scumble(&["keys", "revoke", &old, "--data-dir", "data"]));
    let told = |keys: &[&str]| {
        desk.write("scumble.toml", &format!("[metrics]\nkeys = {keys:?}\n"));
        let doctor = ["doctor", "--data-dir", "data", "--listen", "127.0.0.1:0", "--config", "scumble.toml"];
        let said = succeeded(&desk.scumble(&doctor));
        let line = said.lines().find(|line| line.contains("  metrics  ")).unwrap_or_else(|| panic!("{said}"));
        line.to_owned()
    };
    assert!(told(&[&good]).starts_with("ok     metrics    1 key may read them"));
    let some = told(&[&good, "nobodys", &old]);
    let words = format!("note   metrics    [metrics] keys: there is no key nobodys; {old} is revoked. ");
    assert!(some.starts_with(&words) && some.contains("`scumble keys list --data-dir data` shows"), "{some}");
    let none = told(&["nobodys"]);
    assert!(none.contains("no key can read the metrics"), "{none}");
    // and whoever starts it all the same
    desk.serve_logging(&["--config", "scumble.toml"], &[], "log").stop();
    let log = std::fs::read_to_string(desk.path("log")).unwrap();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("there is no key nobodys")), "{log}");
}

/// A transaction that holds a table for as long as this lives.
struct Lock<'a> {
    schema: &'a Schema,
    psql: Child,
}

impl<'a> Lock<'a> {
    fn on(schema: &'a Schema) -> Self {
        let name = &schema.name;
        let sql = format!("BEGIN; LOCK TABLE {name}.waiting IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(300)");
        let mut psql = Command::new("psql");
        // by which its connection is found
        psql.env("PGAPPNAME", name).args([&schema.server, "-qc", &sql]).stdout(Stdio::null()).stderr(Stdio::null());
        Self { schema, psql: psql.spawn().unwrap() }
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // the server would sleep on without its client
        let Schema { server, name } = self.schema;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name";
        psql(server, &format!("{end} = '{name}'"));
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

/// A schema of the test's own, dropped in the end.
struct Schema {
    server: String,
    name: String,
}

impl Drop for Schema {
    fn drop(&mut self) {
        psql(&self.server, &format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

fn psql(server: &str, sql: &str) -> bool {
    Command::new("psql")
        .args([server, "-qc", sql])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_database_that_hangs_does_not_hold_them_up() {
    let Ok(server) = std::env::var("SCUMBLE_TEST_POSTGRES") else {
        eprintln!("SKIPPED: this test needs a PostgreSQL database; set SCUMBLE_TEST_POSTGRES");
        return;
    };
    let schema = Schema { name: format!("scumble_metrics_{}", std::process::id()), server: server.clone() };
    assert!(psql(&server, &format!("CREATE SCHEMA {}", schema.name)), "psql makes a schema");
    let sign = if server.contains('?') { '&' } else { '?' };
    let database = format!("{server}{sign}options=-csearch_path%3D{}", schema.name);
    let desk = Desk::new();
    let mut serving = desk.serve(&["--role", "gateway", "--database", &database, "--metrics-listen", "127.0.0.1:0"]);
    let url = metrics_url(&serving.prints("/metrics\n"));
    assert!(text(&url).await.contains("\nscumble_store_up 1\n"));
    let lock = Lock::on(&schema);
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    loop {
        let asked = Instant::now();
        let seen = text(&url).await;
        slowest = slowest.max(asked.elapsed());
        if seen.contains("\nscumble_store_up 0\n") {
            assert!(!seen.contains("\nscumble_database_bytes "), "{seen}");
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // two seconds for the database, and what a busy machine adds
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    // before its schema is dropped
    drop((lock, serving));
}
