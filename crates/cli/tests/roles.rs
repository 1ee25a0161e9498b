//! A gateway and workers as processes of their own, meeting in PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Desk, Serving, star};
use serde_json::Value;

/// A worker without an address; ends with the test.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    let args = ["serve", "--role", "worker", "--config", "fast.toml", "--files", "files", "--stand-in=400"];
    let mut command = desk.command(&[&args[..], &["--data-dir", name, "--database", database]].concat());
    Worker(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
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
