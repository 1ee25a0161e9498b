//! The calls of a self-test, over a connection of its own.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::report::Checked;
use crate::http::{Connection, Place};

/// A request that has not ended after this time never will.
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
struct Submitted {
    request_id: String,
}

/// One caller.
pub(super) struct Caller {
    place: Place,
    connection: Connection,
    endpoint: &'static str,
}

impl Caller {
    pub(super) async fn new(place: &Place, endpoint: &'static str) -> Checked<Self> {
        let connection = Connection::open(place).await.map_err(|e| format!("the server cannot be reached: {e}"))?;
        Ok(Self { place: place.clone(), connection, endpoint })
    }

    /// Status and JSON of an answer.
    pub(super) async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Checked<(u16, Value)> {
        let request = self.place.request(method, path, body);
        let answer = self.connection.exchange(&request).await.map_err(|e| format!("{method} {path}: {e}"))?;
        Ok((answer.status, answer.json().map_err(|e| format!("{method} {path}: {e}"))?))
    }

    /// Submits; the request's id.
    pub(super) async fn submit(&mut self, input: &Value) -> Checked<String> {
        let (status, body) = self.call("POST", &format!("/queue/{}", self.endpoint), Some(input)).await?;
        if status != 200 {
            return Err(format!("refused with status {status}: {body}"));
        }
        serde_json::from_value::<Submitted>(body).map(|s| s.request_id).map_err(|e| e.to_string())
    }

    /// Until a request has ended.
    pub(super) async fn ended(&mut self, id: &str) -> Checked<()> {
        let (began, path) = (Instant::now(), format!("{}/status", self.path(id)));
        loop {
            let (status, body) = self.call("GET", &path, None).await?;
            if !matches!(status, 200 | 202) {
                return Err(format!("request {id} was acknowledged and is gone (status {status}: {body})"));
            }
            if body["status"] == "COMPLETED" {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("request {id} does not end: {body}"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Status and body of a result.
    pub(super) async fn result(&mut self, id: &str) -> Checked<(u16, Value)> {
        self.call("GET", &self.path(id), None).await
    }

    /// The first picture of a result, which has to be a whole PNG; how many bytes it has.
    pub(super) async fn picture(&mut self, result: &Value) -> Checked<usize> {
        let url = result["images"][0]["url"].as_str().ok_or_else(|| format!("no picture in {result}"))?;
        let path =
            url.find("/cdn/").map(|at| &url[at..]).ok_or_else(|| format!("{url} is not a file of this server"))?;
        let request = self.place.request("GET", path, None);
        let answer = self.connection.exchange(&request).await.map_err(|e| format!("{url}: {e}"))?;
        // a PNG begins with its signature and ends with an empty chunk named IEND and its checksum
        let whole = answer.body.starts_with(b"\x89PNG\r\n\x1a\n") && answer.body.ends_with(b"IEND\xaeB`\x82");
        match (answer.status, whole) {
            (200, true) => Ok(answer.body.len()),
            (200, false) => Err(format!("{url} is not a complete picture")),
            (status, _) => Err(format!("{url} answers with status {status}")),
        }
    }

    pub(super) fn path(&self, id: &str) -> String {
        format!("/queue/{}/requests/{id}", self.endpoint)
    }
}
