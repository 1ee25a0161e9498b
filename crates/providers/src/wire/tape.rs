//! Record and replay: exchanges with makers in a folder, one file each, so that tests of programs cost nothing.
//!
//! A record is found by method, address and body; where the seed was drawn anew, by the same without the seed. Questions
//! that were asked several times (has it ended yet?) get their answers in the order in which they were given, and then
//! from the first again. Headers of questions are not recorded, so no key is; answers are searched for keys, and
//! signatures in addresses are taken out.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::body::hex;
use super::{Answer, Ask, Keys};

/// Whether exchanges are written down, or read instead of made.
#[derive(Default)]
pub enum Tape {
    /// Neither.
    #[default]
    Off,
    /// Every exchange is kept.
    Record(Recorder),
    /// Nothing is sent; records answer.
    Replay(Player),
}

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", folder.display())]
pub struct TapeError {
    folder: PathBuf,
    reason: String,
}

/// Writes records.
pub struct Recorder {
    folder: PathBuf,
    written: Mutex<HashMap<String, u32>>,
}

/// Reads records.
pub struct Player {
    folder: PathBuf,
    exact: HashMap<String, Vec<Answer>>,
    seedless: HashMap<String, Vec<Answer>>,
    played: Mutex<HashMap<String, usize>>,
}

/// One exchange, as it is on disk.
#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    key_without_seed: String,
    /// The how many-th of this key.
    turn: u32,
    method: String,
    url: String,
    request: Value,
    status: u16,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    body_base64: Option<String>,
}

impl Tape {
    /// Keeps exchanges in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn record(folder: &Path) -> Result<Self, TapeError> {
        let failed = |e: io::Error| TapeError { folder: folder.to_owned(), reason: format!("cannot be made: {e}") };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut written = HashMap::new();
        for record in records(folder)? {
            let next = written.entry(record.key).or_insert(0);
            *next = record.turn.saturating_add(1).max(*next);
        }
        Ok(Self::Record(Recorder { folder: folder.to_owned(), written: Mutex::new(written) }))
    }

    /// Answers from this folder.
    ///
    /// # Errors
    /// A folder that is not there, or a record in it that cannot be read.
    pub fn replay(folder: &Path) -> Result<Self, TapeError> {
        let mut records = records(folder)?;
        records.sort_by_key(|record| record.turn);
        let (mut exact, mut seedless) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for record in records {
            let body = match (record.body, record.body_base64) {
                (Some(text), _) => Bytes::from(text),
                (None, Some(text)) => {
                    let reason =
                        |e| TapeError { folder: folder.to_owned(), reason: format!("a record is broken: {e}") };
                    BASE64.decode(text).map_err(reason)?.into()
                }
                (None, None) => Bytes::new(),
            };
            let answer = Answer { status: record.status, headers: record.headers, body };
            exact.entry(record.key).or_default().push(answer.clone());
            seedless.entry(record.key_without_seed).or_default().push(answer);
        }
        Ok(Self::Replay(Player { folder: folder.to_owned(), exact, seedless, played: Mutex::default() }))
    }
}

/// Reads a record, if it is one.
#[cfg(feature = "fuzz")]
pub(crate) fn plays(text: &str) {
    if let Ok(record) = serde_json::from_str::<Record>(text) {
        let _ = record.body_base64.map(|text| BASE64.decode(text));
    }
}

fn records(folder: &Path) -> Result<Vec<Record>, TapeError> {
    let failed = |reason: String| TapeError { folder: folder.to_owned(), reason };
    let entries = fs::read_dir(folder).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| failed(format!("cannot be read: {e}")))?.path();
        if path.extension().is_some_and(|end| end == "json") {
            let text =
                fs::read_to_string(&path).map_err(|e| failed(format!("{} cannot be read: {e}", path.display())))?;
            let record = serde_json::from_str(&text);
            records.push(record.map_err(|e| failed(format!("{} is not a record: {e}", path.display())))?);
        }
    }
    Ok(records)
}

impl Recorder {
    pub(super) fn keep(&self, ask: &Ask, answer: &Answer, keys: &Keys) -> io::Result<()> {
        let (key, url) = (key(ask, true), plain_url(&ask.link.url));
        let turn = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            let next = written.entry(key.clone()).or_insert(0);
            *next += 1;
            *next - 1
        };
        let text = std::str::from_utf8(&answer.body).ok().map(|text| keys.scrub(&plain_body(text)));
        let record = Record {
            key_without_seed: self::key(ask, false),
            turn,
            method: ask.method.to_string(),
            url: keys.scrub(&url),
            request: serde_json::from_str(&keys.scrub(&ask.body.shown().to_string())).unwrap_or_default(),
            status: answer.status,
            headers: answer
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), keys.scrub(&plain_urls(value))))
                .collect(),
            body_base64: text.is_none().then(|| BASE64.encode(&answer.body)),
            body: text,
            key,
        };
        let name = format!("{}-{turn:03}.json", &record.key[..16]);
        let text = serde_json::to_string_pretty(&record).map_err(io::Error::other)?;
        // whole or not at all: a replay refuses broken records
        let aside = self.folder.join(format!(".{name}.part"));
        fs::write(&aside, text + "\n")?;
        fs::rename(&aside, self.folder.join(name))
    }
}

impl Player {
    pub(super) fn answer(&self, ask: &Ask) -> Result<Answer, String> {
        let (exact, seedless) = (key(ask, true), key(ask, false));
        let (key, answers) = match (self.exact.get(&exact), self.seedless.get(&seedless)) {
            (Some(answers), _) => (exact, answers),
            (None, Some(answers)) => (seedless, answers),
            (None, None) => {
                let (url, folder) = (plain_url(&ask.link.url), self.folder.display());
                return Err(format!("{folder} has no record of {} {url} with this body; record it first", ask.method));
            }
        };
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = played.entry(key).or_insert(0);
        *turn += 1;
        Ok(answers[(*turn - 1) % answers.len()].clone())
    }
}

/// What makes two questions the same. Where the maker is configured to be does not matter.
fn key(ask: &Ask, seed: bool) -> String {
    let url = plain_url(&ask.link.url);
    let place = match ask.link.own {
        true => url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or_default(),
        false => &url,
    };
    let text = format!("{}\n{place}\n{}", ask.method, ask.body.digest(seed));
    hex(&Sha256::digest(text))
}

/// Parameters that are a right to something.
const SIGNATURES: &[&str] =
    &["sig", "signature", "token", "key", "x-amz-signature", "x-amz-credential", "x-amz-security-token"];

/// An address without what signs it.
fn plain_url(url: &str) -> String {
    let Some((place, query)) = url.split_once('?') else { return url.to_owned() };
    let parameter = |text: &str| match text.split_once('=') {
        Some((name, _)) if SIGNATURES.contains(&name.to_ascii_lowercase().as_str()) => format!("{name}=x"),
        _ => text.to_owned(),
    };
    format!("{place}?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&"))
}

/// A body without signatures. JSON may write `&` as `\u0026`, so it is read first.
fn plain_body(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => plain_value(value).to_string(),
        _ => plain_urls(text),
    }
}

fn plain_value(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) => *text = plain_urls(text),
        Value::Object(fields) => fields.values_mut().for_each(|value| *value = plain_value(value.take())),
        Value::Array(items) => items.iter_mut().for_each(|value| *value = plain_value(value.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    value
}

/// The same for every address in a text.
fn plain_urls(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | '\\')).unwrap_or(rest.len());
        plain.push_str(&plain_url(&rest[..end]));
        rest = &rest[end..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_taken_out_and_nothing_else() {
        assert_eq!(plain_body(r#"{"a":"http://h/p?b=1\u0026sig=SECRET"}"#), r#"{"a":"http://h/p?b=1&sig=x"}"#);
        let text =
            r#"{"sample":"https://d.bfl.ai/r/1/s.jpeg?se=2026%3A1&sig=SE/CR%2BET","x":"http://a/b?id=1"} sig=kept"#;
        let plain = r#"{"sample":"https://d.bfl.ai/r/1/s.jpeg?se=2026%3A1&sig=x","x":"http://a/b?id=1"} sig=kept"#;
        assert_eq!(plain_urls(text), plain);
        assert_eq!(plain_urls(plain), plain, "what was recorded is asked for again as it is");
    }
}
