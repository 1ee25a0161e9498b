//! A gateway and workers as processes of their own, meeting in PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Desk, Serving, Worker, star};
use serde_json::Value;

/// A schema of the test's own, dropped in the end.
struct Schema {
    server: String,
    name: String,
}

impl Schema {
    fn new() -> Option<Self> {
        let Ok(server) = std::env::var("SCUMBLE_TEST_POSTGRES") else {
            eprintln!("SKIPPED: this test needs a PostgreSQL database; set SCUMBLE_TEST_POSTGRES");
            return None;
        };
        let schema = Self { server, name: format!("scumble_roles_{}", std::process::id()) };
        assert!(schema.psql(&format!("CREATE SCHEMA {}", schema.name)), "psql makes a schema");
        Some(schema)
    }

    fn url(&self) -> String {
        let sign = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{sign}options=-csearch_path%3D{}", self.server, self.name)
    }

    fn psql(&self, sql: &str) -> bool {
        let psql = Command::new("psql").args([&self.server, "-qc", sql]).stderr(Stdio::null()).status();
        psql.is_ok_and(|status| status.success())
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.psql(&format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

fn worker(desk: &Desk, name: &str, database: &str) -> Worker {
    desk.write("fast.toml", "[worker]\nheartbeat_s = 1\n");
    desk.worker(name, &["--config", "fast.toml", "--files", "files", "--stand-in=400", "--database", database])
}

async fn result(client: &reqwest::Client, submitted: &Value) -> Value {
    let url = submitted["response_url"].as_str().unwrap();
    let ended = async {
        loop {
            let answer = client.get(url).send().await.unwrap();
            if answer.status() != 400 {
                assert_eq!(answer.status(), 200);
                return answer.json().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap()
}

#[tokio::test]
async fn a_gateway_hands_work_to_workers_and_a_killed_one_loses_nothing() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(schema) = Schema::new() else { return };
    let (desk, database) = (Desk::new(), schema.url());
    let gateway: Serving = desk.serve(&["--role", "gateway", "--files", "files", "--database", &database]);
    let client = reqwest::Client::new();
    let submit = async || -> Value {
        let sent = client.post(gateway.url("/queue/fal-ai/flux/schnell")).json(&star()).send().await.unwrap();
        sent.json().await.unwrap()
    };
    let mut submitted = Vec::new();
    for _ in 0..6 {
        submitted.push(submit().await);
    }
    let first = worker(&desk, "one", &database);
    let second = worker(&desk, "two", &database);
    result(&client, &submitted[0]).await;
    drop(first); // by SIGKILL, most likely in the middle of a job
    for request in &submitted {
        let output = result(&client, request).await;
        let picture = client.get(output["images"][0]["url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(
            (picture.status().as_u16(), &picture.headers()["content-type"]),
            (200, &"image/png".parse().unwrap())
        );
    }
    drop(second);
}

#[tokio::test]
async fn a_gateway_alone_ends_what_nobody_starts_in_time() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let desk = Desk::new();
    let gateway: Serving = desk.serve(&["--role", "gateway"]);
    let client = reqwest::Client::new();
    let submit = client.post(gateway.url("/queue/fal-ai/flux/schnell")).header("x-fal-request-start-timeout", "0.2");
    let submitted: Value = submit.json(&star()).send().await.unwrap().json().await.unwrap();
    let direct = client.post(gateway.url("/run/fal-ai/flux/schnell")).header("x-fal-request-start-timeout", "0.2");
    let direct = direct.json(&star()).send().await.unwrap();
    assert_eq!(
        (direct.status().as_u16(), &direct.headers()["x-fal-error-type"]),
        (504, &"request_timeout".parse().unwrap())
    );
    let url = submitted["response_url"].as_str().unwrap();
    let ended = async {
        loop {
            let answer = client.get(url).send().await.unwrap();
            if answer.status() != 400 {
                return answer.status().as_u16();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap(), 504);
}

#[test]
fn a_database_that_is_not_there_is_told_in_the_words_of_its_server() {
    let Ok(server) = std::env::var("SCUMBLE_TEST_POSTGRES") else {
        eprintln!("SKIPPED: this test needs a PostgreSQL database; set SCUMBLE_TEST_POSTGRES");
        return;
    };
    let (place, parameters) = server.split_once('?').map_or((&*server, String::new()), |(a, b)| (a, format!("?{b}")));
    let host = place.rsplit_once('/').unwrap().0;
    let url = format!("{host}/scumble_made_by_nobody{parameters}");
    let said = Desk::new().refuses(&["keys", "list", "--database", &url], 4, &["scumble_made_by_nobody"]);
    assert!(said.contains("the database refuses this program (") && !said.contains(" at line "), "{said}");
}
