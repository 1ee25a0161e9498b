//! Kills the server again and again while callers submit, and then counts: everything acknowledged has one result, its
//! picture is whole, and the database is intact.

use std::path::Path;
use std::time::{Duration, Instant};

use scumble_store::{EventKind, Options, SqliteStore, Store};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::calls::Caller;
use super::report::{Checked, Report};
use crate::failure::Failure;
use crate::own_server::OwnServer;

/// Draws cards, which is quick.
const ENDPOINT: &str = "fal-ai/flux/schnell";
const CALLERS: usize = 8;
/// Submits of one caller between two kills.
const SUBMITS: usize = 8;
/// A kill comes at a random moment within this time.
const LONGEST_LIFE_MS: u64 = 1500;

/// What was acknowledged, and how often the server died meanwhile.
#[derive(Default)]
struct Toll {
    acknowledged: Vec<String>,
    kills: usize,
}

/// What became of what was acknowledged.
#[derive(Default)]
struct Survivors {
    pictures: usize,
    set_aside: usize,
}

pub(super) async fn torture(report: &Report, seconds: f64) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|e| Failure::System(format!("cannot make a folder: {e}")))?;
    let config = config(folder.path())?;
    let mut toll = Toll::default();
    report.begin("killing the server while it works", seconds.ceil() as usize);
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < seconds || toll.acknowledged.is_empty() {
        let server = OwnServer::start(folder.path(), &["--config", &config, "--stand-in=5"]).await?;
        one_life(server, &mut toll).await?;
        report.at(began.elapsed().as_secs() as usize);
    }
    report.ok(&format!("{} requests acknowledged, {} kills", toll.acknowledged.len(), toll.kills))?;
    let server = OwnServer::start(folder.path(), &["--config", &config, "--stand-in=0"]).await?;
    let survivors = count(report, &server, &toll).await.map_err(Failure::Failed)?;
    server.kill();
    let Survivors { pictures, set_aside } = survivors;
    report.ok(&format!("each has one result: {pictures} whole pictures, {set_aside} set aside after three kills"))?;
    report.step("each has ended exactly once", ended_once(folder.path(), &toll)).await?;
    Ok(())
}

/// A short lease, so that what a kill interrupted is soon tried again. The path of the configuration file.
pub(super) fn config(folder: &Path) -> Result<String, Failure> {
    let path = folder.join("selftest.toml");
    std::fs::write(&path, "[worker]\nheartbeat_s = 1\n").map_err(|e| Failure::about("write", &path, e))?;
    path.to_str().map(str::to_owned).ok_or_else(|| Failure::about("use", &path, "its name is not text in UTF-8"))
}

/// Lets callers submit until the server is killed under them.
async fn one_life(server: OwnServer, toll: &mut Toll) -> Result<(), Failure> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(submits(server.place()));
    }
    let random = scumble_worker::fresh_seed().map_err(Failure::Failed)?;
    tokio::time::sleep(Duration::from_millis(random % LONGEST_LIFE_MS)).await;
    server.kill();
    toll.kills += 1;
    while let Some(acknowledged) = callers.join_next().await {
        toll.acknowledged.extend(acknowledged.unwrap_or_default());
    }
    Ok(())
}

/// What one caller got acknowledged before the server died, or before it had enough.
async fn submits(place: crate::http::Place) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let Ok(mut caller) = Caller::new(&place, ENDPOINT).await else { return acknowledged };
    while acknowledged.len() < SUBMITS
        && let Ok(id) = caller.submit(&card()).await
    {
        acknowledged.push(id);
    }
    acknowledged
}

async fn count(report: &Report, server: &OwnServer, toll: &Toll) -> Checked<Survivors> {
    let mut caller = Caller::new(&server.place(), ENDPOINT).await?;
    let mut survivors = Survivors::default();
    report.begin("waiting for every result", toll.acknowledged.len());
    for (done, id) in toll.acknowledged.iter().enumerate() {
        caller.ended(id).await?;
        let (first, again) = (caller.result(id).await?, caller.result(id).await?);
        if first != again {
            return Err(format!("request {id} has two results: {first:?} and {again:?}"));
        }
        match first {
            (200, result) => {
                caller.picture(&result).await?;
                survivors.pictures += 1;
            }
            (_, body) if toll.kills >= 3 && body["error_type"] == "runner_disconnected" => survivors.set_aside += 1,
            (status, body) => return Err(format!("request {id} has ended with status {status}: {body}")),
        }
        report.at(done + 1);
    }
    Ok(survivors)
}

/// Looks into the database, behind the server's back.
async fn ended_once(folder: &Path, toll: &Toll) -> Checked<()> {
    let store = SqliteStore::open(folder.join("scumble.db"), Options::default()).await.map_err(|e| e.to_string())?;
    let problems = store.problems().await.map_err(|e| e.to_string())?;
    if let Some(problem) = problems.first() {
        return Err(format!("the database is damaged: {problem}"));
    }
    for id in &toll.acknowledged {
        let job = id.parse().map_err(|e| format!("{id}: {e}"))?;
        let events = store.events(job, 0).await.map_err(|e| e.to_string())?;
        let is_end = |kind: &EventKind| matches!(kind, EventKind::State { state, .. } if state.is_end());
        match events.iter().filter(|event| is_end(&event.kind)).count() {
            1 => {}
            ends => return Err(format!("request {id} has ended {ends} times")),
        }
    }
    store.close().await;
    Ok(())
}

fn card() -> Value {
    json!({ "prompt": "a card", "image_size": { "width": 64, "height": 64 }, "num_inference_steps": 1 })
}
