//! `scumble jobs`, beside a server and without one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use common::{Desk, plain, star, succeeded};
use serde_json::{Value, json};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Jobs in the database of a gateway without a worker: the first one's outcome is a 422, the others wait.
async fn submitted(desk: &Desk, inputs: &[Value]) -> Vec<String> {
    let gateway = desk.serve(&["--role", "gateway"]);
    let client = plain();
    let mut ids = Vec::new();
    for input in inputs {
        let sent = client.post(gateway.url("/queue/scumble/starter")).json(input).send().await.unwrap();
        let answer: Value = sent.json().await.unwrap();
        ids.push(answer["request_id"].as_str().unwrap().to_owned());
    }
    ids
}

fn jobs(desk: &Desk, args: &[&str]) -> String {
    succeeded(&desk.scumble(&[&["jobs"], args, &["--data-dir", "data"]].concat()))
}

fn refuses(desk: &Desk, args: &[&str], words: &[&str]) {
    desk.refuses(&[&["jobs"], args, &["--data-dir", "data"]].concat(), 2, words);
}

#[tokio::test]
async fn jobs_are_listed_shown_cancelled_and_retried_with_the_server_down() {
    let desk = Desk::new();
    let ids = submitted(&desk, &[json!({ "prompt": 7 }), star(), star()]).await;
    let (failed, waiting) = (ids[0].as_str(), ids[1].as_str());

    let table = jobs(&desk, &["list"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() == 4 && lines[0].starts_with("ID"), "{table}");
    assert!(lines[1].starts_with(&ids[2]) && lines[3].starts_with(failed), "newest first: {table}");
    assert!(lines[3].contains("failed") && lines[3].contains("422") && lines[3].contains("prompt"), "{table}");
    let queued = jobs(&desk, &["list", "--state", "queued", "--limit", "1", "--json"]);
    let queued: Value = serde_json::from_str(&queued).unwrap();
    assert_eq!((queued.as_array().unwrap().len(), &queued[0]["id"]), (1, &json!(ids[2])));
    let before = queued[0]["seq"].to_string();
    let older: Value = serde_json::from_str(&jobs(&desk, &["list", "--before", &before, "--json"])).unwrap();
    let older: Vec<_> = older.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(older, [waiting, failed]);
    assert_eq!(jobs(&desk, &["list", "--endpoint", "fal-ai/flux/dev"]), "");

    let shown = jobs(&desk, &["show", failed]);
    for word in ["scumble/starter", "failed", "422", "Input", "\"prompt\": 7", "detail", "Events"] {
        assert!(shown.contains(word), "{word:?} is missing: {shown}");
    }
    let shown: Value = serde_json::from_str(&jobs(&desk, &["show", waiting, "--json"])).unwrap();
    assert_eq!((&shown["state"], &shown["input"]["prompt"]), (&json!("queued"), &json!("a star")));
    assert_eq!((&shown["outcome"], &shown["deliveries"]), (&Value::Null, &json!([])));
    assert_eq!(shown["events"], json!([]), "nothing has happened to it yet");

    let cancelled: Value = serde_json::from_str(&jobs(&desk, &["cancel", waiting, "--json"])).unwrap();
    assert_eq!(cancelled, json!({ "id": waiting, "result": "cancelled" }));
    refuses(&desk, &["cancel", waiting], &["has ended"]);

    let copy = jobs(&desk, &["retry", waiting]);
    assert!(copy.trim().len() == 36 && copy.trim() != waiting, "a job of its own: {copy}");
    let [old, new] = [waiting, copy.trim()]
        .map(|id| -> Value { serde_json::from_str(&jobs(&desk, &["show", id, "--json"])).unwrap() });
    assert_eq!((&old["state"], &new["state"]), (&json!("cancelled"), &json!("queued")));
    assert_eq!(old["input"], new["input"]);

    for command in ["show", "cancel", "retry", "redeliver"] {
        refuses(&desk, &[command, NOBODY], &[NOBODY, "jobs list"]);
        refuses(&desk, &[command, "x"], &["not a job id"]);
    }
    refuses(&desk, &["redeliver", failed], &["no webhook"]);
    refuses(&desk, &["list", "--state", "asleep"], &["asleep", "queued"]);

    // the next start runs what waits
    let server = desk.serve(&[]);
    let url = server.url(&format!("/queue/scumble/starter/requests/{}", copy.trim()));
    let called = plain().post(server.url("/run/scumble/starter")).json(&star()).send().await.unwrap();
    assert_eq!(called.status(), 200);
    // first in, first out: the copy was run before, and may still be on its way to the disk
    let began = std::time::Instant::now();
    while plain().get(&url).send().await.unwrap().status() != 200 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "the copy has no result");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_webhook_is_shown_and_delivered_again_on_request() {
    let desk = Desk::new();
    // a receiver that is not called here: no worker runs
    let ids = {
        let gateway = desk.serve(&["--role", "gateway"]);
        let url = gateway.url("/queue/scumble/starter?fal_webhook=https%3A%2F%2Fexample.com%2Fhook");
        let mut ids = Vec::new();
        for input in [json!({ "prompt": 7 }), star()] {
            let sent = plain().post(&url).json(&input).send().await.unwrap();
            let answer: Value = sent.json().await.unwrap();
            ids.push(answer["request_id"].as_str().unwrap().to_owned());
        }
        ids
    };
    let shown: Value = serde_json::from_str(&jobs(&desk, &["show", &ids[0], "--json"])).unwrap();
    assert_eq!(shown["deliveries"][0]["url"], "https://example.com/hook");
    assert_eq!(shown["deliveries"][0]["state"], "pending");
    assert!(jobs(&desk, &["show", &ids[0]]).contains("Webhook pending: https://example.com/hook"));
    let again: Value = serde_json::from_str(&jobs(&desk, &["redeliver", &ids[0], "--json"])).unwrap();
    assert_eq!(again, json!({ "id": ids[0], "result": "pending" }));
    refuses(&desk, &["redeliver", &ids[1]], &["has not ended"]);
}
