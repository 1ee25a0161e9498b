//! What comes with a call beside its input: written by the gateway into the job, read by the worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::image_format::Encoding;
use crate::lifecycle::Lifecycle;
use crate::retry::RetryRules;
use crate::traceparent::Traceparent;

/// The options of a job, as they are stored with it. Unknown ones are ignored and missing ones are usual, because
/// gateway and worker may be of different versions while one of them is being replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobOptions {
    /// Fields of the body that the endpoint does not have, as versions before `notes` wrote them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<String>,
    /// What the caller should know of how the input was read: lines of the job's log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// `X-Fal-Tags`: whatever the caller wants to find the job by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Which failures are worth another attempt.
    pub retry: RetryRules,
    /// How long produced files live and who may read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// How the caller reaches this server's services, for URLs in webhooks: `cdn` to `http://host/cdn`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub base_urls: BTreeMap<String, String>,
    /// What the job goes on with: the `traceparent` of its submit, or of its caller where no traces are exported here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Somebody watches: previews are worth making.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// How pictures are written, where the caller's API lets them say more than the endpoint's own fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The mask is transparent where it marks, as OpenAI's are, and not of a colour.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clear_mask: bool,
    /// Pictures are to be as large as the first that was given, as far as the model draws that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub like_picture: bool,
}

impl JobOptions {
    /// As it is stored.
    pub fn to_json(&self) -> Value {
        // a struct of strings and numbers always has a JSON form
        serde_json::to_value(self).unwrap_or_default()
    }

    /// What the job goes on with.
    pub fn traceparent(&self) -> Option<Traceparent> {
        Traceparent::parse(self.trace.as_deref()?)
    }

    /// From a stored job; what cannot be read is as if it had not been said.
    pub fn of(stored: &Value) -> Self {
        Self::deserialize(stored).unwrap_or_default()
    }
}

/// Longest `X-Fal-Tags` that is read at all.
const TAGS_BYTES: usize = 1024;
const TAGS_PAIRS: usize = 10;

/// Reads `X-Fal-Tags`: `k=v,k=v`. What is malformed or reserved (`fal.`) is dropped, as fal does (protocol 4.1).
pub fn tags(header: &str) -> BTreeMap<String, String> {
    if header.len() > TAGS_BYTES {
        return BTreeMap::new();
    }
    let pairs = header.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.trim(), value.trim()));
    let fit = pairs.filter(|(key, value)| is_tag_key(key) && (1..=256).contains(&value.len()));
    fit.take(TAGS_PAIRS).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn is_tag_key(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    (1..=64).contains(&key.len()) && key.bytes().all(plain) && !key.starts_with("fal.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_do_not_fit_are_dropped() {
        let read = |header: &str| tags(header).into_iter().collect::<Vec<_>>();
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(read("team=a, env=prod"), [pair("env", "prod"), pair("team", "a")]);
        assert_eq!(read("Team=a,fal.x=1,=b,c=,d,e=1"), [pair("e", "1")]);
        assert_eq!(read(&format!("a={}", "x".repeat(257))), []);
        assert_eq!(read(&"a=1,".repeat(300)), []);
        let many: Vec<String> = (10..30).map(|n| format!("k{n}=v")).collect();
        assert_eq!(read(&many.join(",")).len(), 10);
    }

    #[test]
    fn options_survive_storage_and_strangers() {
        let options = JobOptions { notes: vec!["x".into()], stream: true, ..JobOptions::default() };
        assert_eq!(JobOptions::of(&options.to_json()), options);
        assert!(JobOptions::of(&serde_json::json!({ "new": 1, "stream": true })).stream);
        assert_eq!(JobOptions::of(&Value::Null), JobOptions::default());
    }
}
