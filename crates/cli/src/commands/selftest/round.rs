//! One round through everything with the starter model: submit, status, result, file, cancel, and all of it once more
//! after the server was killed.

use std::path::Path;

use serde_json::{Value, json};

use super::calls::Caller;
use super::report::{Checked, Report};
use crate::failure::Failure;
use crate::own_server::OwnServer;

const STARTER: &str = "scumble/starter";
const STARTS: &str = "the server starts";

pub(super) async fn round(report: &Report) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|e| Failure::System(format!("cannot make a folder: {e}")))?;
    let server = started(report, STARTS, folder.path()).await?;
    let mut caller = caller(&server).await?;
    let id = report.step("a submit is acknowledged", caller.submit(&star(4))).await?;
    report.step("the starter draws, its status says so", caller.ended(&id)).await?;
    let result = report.step("the result is there", good_result(&mut caller, &id)).await?;
    report.step("its picture can be fetched", caller.picture(&result)).await?;
    report.step("a direct call answers with its result", direct(&mut caller)).await?;
    report.step("a cancelled request ends as cancelled", cancelled(&mut caller)).await?;
    let waiting = report.step("a submit is acknowledged before a kill", caller.submit(&star(1))).await?;
    server.kill();
    let server = started(report, "the server starts after a kill", folder.path()).await?;
    let mut caller = self::caller(&server).await?;
    report.step("what was waiting is drawn", caller.ended(&waiting)).await?;
    report.step("the first result is the same", same_result(&mut caller, &id, &result)).await?;
    Ok(())
}

async fn started(report: &Report, what: &str, folder: &Path) -> Result<OwnServer, Failure> {
    // a short lease: after a kill, the request at hand is given back when it ends
    let config = super::torture::config(folder)?;
    report.step(what, async { OwnServer::start(folder, &["--config", &config]).await.map_err(|e| e.message()) }).await
}

async fn caller(server: &OwnServer) -> Result<Caller, Failure> {
    Caller::new(&server.place(), STARTER).await.map_err(Failure::Failed)
}

async fn good_result(caller: &mut Caller, id: &str) -> Checked<Value> {
    match caller.result(id).await? {
        (200, body) => Ok(body),
        (status, body) => Err(format!("status {status}: {body}")),
    }
}

async fn same_result(caller: &mut Caller, id: &str, before: &Value) -> Checked<()> {
    let now = good_result(caller, id).await?;
    // the server listens on another port, which is in the picture's URL
    match (now["seed"] == before["seed"], now["timings"] == before["timings"]) {
        (true, true) => caller.picture(&now).await.map(|_| ()),
        _ => Err(format!("{before} became {now}")),
    }
}

async fn direct(caller: &mut Caller) -> Checked<()> {
    match caller.call("POST", &format!("/run/{STARTER}"), Some(&star(1))).await? {
        (200, _) => Ok(()),
        (status, body) => Err(format!("status {status}: {body}")),
    }
}

/// Two are submitted, so that the second waits or has just begun.
async fn cancelled(caller: &mut Caller) -> Checked<()> {
    let _first = caller.submit(&star(4)).await?;
    let id = caller.submit(&star(50)).await?;
    let path = format!("{}/cancel", caller.path(&id));
    match caller.call("PUT", &path, None).await? {
        (200 | 202, _) => {}
        (status, body) => return Err(format!("status {status}: {body}")),
    }
    caller.ended(&id).await?;
    match caller.result(&id).await? {
        (499, _) => Ok(()),
        (status, body) => Err(format!("its result has status {status}: {body}")),
    }
}

fn star(steps: u32) -> Value {
    json!({
        "prompt": "two small yellow stars on a purple background",
        "image_size": { "width": 64, "height": 64 },
        "num_inference_steps": steps,
        "seed": 7,
    })
}
