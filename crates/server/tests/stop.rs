//! An orderly stop, and a database that cannot be written, as callers see them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod socket;

use std::time::Duration;

use reqwest::{Method, Response};
use scumble_testkit::runner::FakeRunner;
use scumble_testkit::server::{Folder, Setup, TestServer};
use serde_json::{Value, json};
use socket::{Received, Socket};

const RUN: &str = "/run/scumble/starter";

fn star(prompt: &str) -> Value {
    json!({ "prompt": prompt, "num_inference_steps": 1, "image_size": { "width": 64, "height": 64 }, "seed": 3 })
}

/// A direct call under way.
fn call(server: &TestServer, prompt: &str) -> tokio::task::JoinHandle<Response> {
    let call = server.request(Method::POST, RUN).json(&star(prompt));
    tokio::spawn(async move { call.send().await.unwrap() })
}

/// A refusal that may be repeated, as fal's clients know it.
async fn may_be_repeated(answer: Response) {
    assert_eq!(answer.status(), 503);
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert!(header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!((header("x-fal-retryable"), header("x-fal-needs-retry")), (Some("true".into()), Some("1".into())));
    assert_eq!(header("x-fal-error-type").unwrap(), "runner_scheduling_failure");
    assert_eq!(answer.json::<Value>().await.unwrap()["error_type"], "runner_scheduling_failure");
}

/// Waits until so many jobs wait in line.
async fn waiting(server: &TestServer, number: u64) {
    let waits = async {
        loop {
            let counts = server.store.counts().await.unwrap();
            let queued = counts.iter().filter(|count| count.state == scumble_store::State::Queued);
            if queued.map(|count| count.jobs).sum::<u64>() == number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.expect("they wait");
}

async fn ready(server: &TestServer) -> u16 {
    server.request(Method::GET, "/ready").send().await.unwrap().status().as_u16()
}

/// Runs on a data dir what is left there; the prompts of that.
async fn left_over(folder: Folder) -> Vec<String> {
    let runner = FakeRunner::free();
    let server = TestServer::on(folder, &runner).await;
    let last = server.submit(&star("last")).await;
    server.ended(&last).await;
    runner.prompts()
}

#[tokio::test]
async fn everybody_who_waits_gets_an_answer_and_what_nobody_reads_does_not_run() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let first = call(&server, "first");
    runner.begun().await;
    let (others, kept) =
        ([call(&server, "a"), call(&server, "b"), call(&server, "c")], server.submit(&star("kept")).await);
    waiting(&server, 4).await;
    assert_eq!(ready(&server).await, 200);

    server.drains();
    let unready = server.request(Method::GET, "/ready").send().await.unwrap();
    assert_eq!(unready.status(), 503);
    assert!(unready.headers().contains_key("retry-after"));
    for other in others {
        may_be_repeated(other.await.unwrap()).await;
    }
    may_be_repeated(call(&server, "late").await.unwrap()).await;
    let stream = server.request(Method::POST, &format!("{RUN}/stream")).json(&star("late")).send().await.unwrap();
    may_be_repeated(stream).await;
    let openai = server.request(Method::POST, "/v1/images/generations");
    let openai = openai.json(&json!({ "model": "scumble/starter", "prompt": "late" })).send().await.unwrap();
    assert_eq!(openai.status(), 503);
    assert!(openai.headers().contains_key("retry-after"));
    // who does not wait loses nothing: it is on disk
    let late = server.submit(&star("submitted late")).await;
    assert_eq!(late["status"], "IN_QUEUE");
    assert_eq!(kept["status"], "IN_QUEUE");

    runner.allow(1);
    assert_eq!(first.await.unwrap().status(), 200, "what was at work has its time");
    let folder = server.drained().await;
    assert_eq!(runner.prompts(), ["first"]);
    assert_eq!(left_over(folder).await, ["kept", "submitted late", "last"]);
}

#[tokio::test]
async fn a_second_signal_answers_the_rest() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let direct = call(&server, "direct");
    runner.begun().await;
    server.drains();
    // nothing lets the run end
    let folder = server.stopped().await;
    assert!(direct.await.unwrap().status() == 503);
    assert_eq!(left_over(folder).await, ["last"], "nobody would read it");
}

#[tokio::test]
async fn streams_end_cleanly() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let stream = server.request(Method::POST, &format!("{RUN}/stream")).json(&star("stream"));
    let stream = tokio::spawn(async move { stream.send().await.unwrap().text().await });
    runner.begun().await;
    let waits = server.request(Method::POST, &format!("{RUN}/stream")).json(&star("waits"));
    let waits = tokio::spawn(async move { waits.send().await.unwrap() });
    let queued = server.submit(&star("queued")).await;
    waiting(&server, 2).await;
    let path = queued["status_url"].as_str().unwrap().split_once("/queue").unwrap().1.to_owned();
    let status = server.request(Method::GET, &format!("/queue{path}/stream?logs=1")).send().await.unwrap();

    server.drains();
    may_be_repeated(waits.await.unwrap()).await;
    runner.allow(1);
    let text = stream.await.unwrap().expect("its stream ends as it should");
    assert!(text.contains("\"images\"") && text.ends_with("\n\n"), "{text}");
    let stopped = tokio::spawn(server.drained());
    let text = status.text().await.expect("no broken connection");
    assert!(text.contains("IN_QUEUE") && !text.contains("COMPLETED"), "{text}");
    assert_eq!(left_over(stopped.await.unwrap()).await, ["queued", "last"]);
}

#[tokio::test]
async fn realtime_sessions_say_goodbye() {
    let runner = FakeRunner::gated();
    let server = TestServer::new(&runner).await;
    let path = format!("{RUN}/realtime");
    let (mut idle, mut busy) = (Socket::open(&server, &path).await, Socket::open(&server, &path).await);
    busy.send(&star("busy")).await;
    runner.begun().await;
    busy.send(&star("next")).await;
    busy.settled().await;

    server.drains();
    assert_eq!(idle.text().await["error"], "TIMEOUT", "clients connect anew with their next input");
    assert!(matches!(idle.next().await, Received::Closed(Some(1000))));
    let refused = server.request(Method::GET, &path).header("connection", "upgrade").header("upgrade", "websocket");
    let refused = refused.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    may_be_repeated(refused.send().await.unwrap()).await;
    runner.allow(1);
    assert_eq!(busy.output().await.prompt, "busy");
    assert_eq!(busy.text().await["error"], "INTERNAL_ERROR");
    assert!(matches!(busy.next().await, Received::Closed(Some(1000))));
    assert_eq!(left_over(server.drained().await).await, ["last"]);
}

/// A worker that cannot claim has no database to say so in; who waits for it hears of it all the same.
#[tokio::test]
async fn who_waits_hears_that_nobody_can_take_it_up() {
    let folder = Folder::new();
    let runner = FakeRunner::free();
    let mut setup = Setup { folder: folder.clone(), ..Setup::default() };
    setup.worker.poll = Duration::from_millis(100);
    let server = TestServer::with(setup, &runner).await;
    let database = rusqlite::Connection::open(folder.path().join("scumble.db")).unwrap();
    // as on a disk that has no room for a claim: accepting still fits
    let no_room = "CREATE TRIGGER no_room BEFORE UPDATE OF state ON jobs WHEN new.state = 'leased' \
                   BEGIN SELECT RAISE(FAIL, 'no room'); END";
    database.execute_batch(no_room).unwrap();
    // one that has to stand in line
    let direct = async |prompt: &str, path: &str| {
        let call = server.request(Method::POST, path).header("x-fal-runner-hint", "h").json(&star(prompt));
        call.send().await.unwrap()
    };
    may_be_repeated(direct("first", RUN).await).await;
    may_be_repeated(direct("streamed", &format!("{RUN}/stream")).await).await;
    assert_eq!(ready(&server).await, 503);
    database.execute_batch("DROP TRIGGER no_room").unwrap();

    let queued = server.submit(&star("queued")).await;
    server.ended(&queued).await;
    assert_eq!(ready(&server).await, 200);
    assert_eq!(direct("second", RUN).await.status(), 200);
    assert_eq!(runner.prompts(), ["queued", "second"], "what was answered with a refusal does not run");
}

#[tokio::test]
async fn a_database_that_is_gone_makes_a_server_unready() {
    let folder = Folder::new();
    let server = TestServer::on(folder.clone(), &FakeRunner::free()).await;
    assert_eq!(ready(&server).await, 200);
    let path = folder.path().join("scumble.db");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(ready(&server).await, 503, "what is written now would not be there after the next start");
    std::fs::write(&path, b"").unwrap();
    assert_eq!(ready(&server).await, 503);
    let refused = server.request(Method::POST, "/queue/scumble/starter").json(&star("a")).send().await.unwrap();
    assert_eq!(refused.status(), 500, "nothing is acknowledged that would be lost");
}
