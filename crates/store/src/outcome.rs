//! Outcomes: what came out of a job.

use std::collections::BTreeMap;

use scumble_api::{ECHO_BYTES, ErrorAnswer, cut, cut_text};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::State;

/// How much an error may say: it is kept for as long as the job.
const BODY_BYTES: usize = 64 * 1024;

/// What the caller gets. Written once, with the end of the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The HTTP status of the result.
    pub status: u16,
    /// The JSON body of the result, of success and failure alike.
    pub body: Value,
    /// Further response headers, such as `x-fal-error-type`.
    pub headers: BTreeMap<String, String>,
    /// What went wrong, for status and webhook; `None` on success.
    pub error: Option<String>,
    /// The machine's name of what went wrong, such as `request_timeout`.
    pub error_type: Option<String>,
    /// How long the model ran.
    pub inference_ms: Option<i64>,
}

impl Outcome {
    /// The status of a cancelled job's outcome.
    pub const CANCELLED: u16 = 499;

    /// The header that says which maker was asked.
    pub const MAKER: &str = "x-scumble-maker";
    /// The header that says what that maker asked for, in US dollars.
    pub const COST: &str = "x-scumble-cost-usd";

    /// Who was paid, and how many US dollars, in decimals; `None` where no maker was asked.
    #[must_use]
    pub fn paid(&self) -> Option<(&str, &str)> {
        Some((self.headers.get(Self::MAKER)?, self.headers.get(Self::COST)?))
    }

    /// The state in which a job with this outcome ends.
    ///
    /// Below 400 it is [`State::Done`]; [`Outcome::CANCELLED`] on a job that was asked to cancel is
    /// [`State::Cancelled`]; everything else is [`State::Failed`].
    #[must_use]
    pub fn end_state(&self, cancel_requested: bool) -> State {
        match self.status {
            ..400 => State::Done,
            Self::CANCELLED if cancel_requested => State::Cancelled,
            _ => State::Failed,
        }
    }
}

/// The outcome of an error: what its answer says, for those who ask later.
impl From<&ErrorAnswer> for Outcome {
    fn from(answer: &ErrorAnswer) -> Self {
        Self {
            status: answer.status,
            body: cut(&answer.body, BODY_BYTES),
            headers: answer.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            error: Some(cut_text(&answer.message(), ECHO_BYTES)),
            error_type: answer.body["error_type"].as_str().map(str::to_owned),
            inference_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_the_end() {
        let end = |status, cancel_requested| {
            let outcome = Outcome {
                status,
                body: Value::Null,
                headers: BTreeMap::new(),
                error: None,
                error_type: None,
                inference_ms: None,
            };
            outcome.end_state(cancel_requested)
        };
        assert_eq!((end(200, false), end(200, true)), (State::Done, State::Done));
        assert_eq!((end(399, false), end(400, false)), (State::Done, State::Failed));
        assert_eq!((end(499, false), end(499, true)), (State::Failed, State::Cancelled));
        assert_eq!(end(500, true), State::Failed);
    }
}
