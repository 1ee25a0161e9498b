//! How different servers spell the same four calls, so that one generator can drive them all.

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::Place;

/// Whose URLs to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// fal's API, as Scumble speaks it.
    #[default]
    Scumble,
    /// `POST /predict` answers with the result.
    PlainDirect,
    /// `POST /submit` gives an id; `GET /status/{id}` and `GET /result/{id}` follow it.
    PlainQueue,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Call {
    /// One request, and the result is its answer.
    Direct,
    /// A submit, its status until it has ended, and its result.
    SubmitToResult,
    /// The status of a request that has ended.
    Status,
    /// A submit, until it is acknowledged.
    Submit,
}

impl Call {
    /// Submits come last: what they leave waiting would stand in the way of all others.
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::SubmitToResult, Self::Status, Self::Submit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct call",
            Self::SubmitToResult => "submit to result",
            Self::Status => "status",
            Self::Submit => "submit",
        }
    }
}

/// What a submit answers, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct Submitted {
    pub(crate) request_id: String,
}

/// What a status call answers, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct Status<'a> {
    pub(crate) status: &'a str,
}

impl Shape {
    /// Whether servers of this shape know a call.
    pub(crate) fn has(self, call: Call) -> bool {
        match self {
            Self::Scumble => true,
            Self::PlainDirect => call == Call::Direct,
            Self::PlainQueue => call != Call::Direct,
        }
    }

    pub(crate) fn direct(self, place: &Place, endpoint: &str) -> Vec<u8> {
        match self {
            Self::Scumble => place.request("POST", &format!("/run/{endpoint}"), Some(&input())),
            Self::PlainDirect | Self::PlainQueue => place.request("POST", "/predict", Some(&input())),
        }
    }

    pub(crate) fn submit(self, place: &Place, endpoint: &str) -> Vec<u8> {
        match self {
            Self::Scumble => place.request("POST", &format!("/queue/{endpoint}"), Some(&input())),
            Self::PlainDirect | Self::PlainQueue => place.request("POST", "/submit", Some(&input())),
        }
    }

    pub(crate) fn status(self, place: &Place, endpoint: &str, id: &str) -> Vec<u8> {
        match self {
            Self::Scumble => place.request("GET", &format!("/queue/{endpoint}/requests/{id}/status"), None),
            Self::PlainDirect | Self::PlainQueue => place.request("GET", &format!("/status/{id}"), None),
        }
    }

    pub(crate) fn result(self, place: &Place, endpoint: &str, id: &str) -> Vec<u8> {
        match self {
            Self::Scumble => place.request("GET", &format!("/queue/{endpoint}/requests/{id}"), None),
            Self::PlainDirect | Self::PlainQueue => place.request("GET", &format!("/result/{id}"), None),
        }
    }
}

/// The smallest picture: what is measured is the way to it and back.
fn input() -> Value {
    json!({
        "prompt": "two small yellow stars on a purple background",
        "image_size": { "width": 64, "height": 64 },
        "num_inference_steps": 1,
        "seed": 7,
    })
}
