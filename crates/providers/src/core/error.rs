//! What becomes of a call that made nothing, in fal's words. No maker's wording gets here.

use scumble_api::{ErrorAnswer, Problem};
use serde_json::{Value, json};

/// Why there is no picture.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MakerError {
    /// The caller, or this process, wants no picture any more.
    #[error("cancelled")]
    Cancelled,
    /// Anything else.
    #[error("{}", .0.problem.msg)]
    Refused(Box<Refusal>),
}

/// An error as fal documents it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Where, what and why.
    pub problem: Problem,
    /// The HTTP status that goes with it.
    pub status: u16,
    /// Whether the same request may succeed later without being paid for twice.
    pub retryable: bool,
}

impl MakerError {
    /// What the caller reads; `None` for what was cancelled.
    pub fn answer(&self) -> Option<ErrorAnswer> {
        let Self::Refused(refusal) = self else { return None };
        let headers = vec![
            ("x-fal-retryable", refusal.retryable.to_string()),
            ("x-fal-needs-retry", u8::from(refusal.retryable).to_string()),
            ("x-fal-billable-units", "0".to_owned()),
        ];
        Some(ErrorAnswer { status: refusal.status, body: json!({ "detail": [refusal.problem] }), headers })
    }

    /// The refusal, if it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Cancelled => None,
            Self::Refused(refusal) => Some(refusal),
        }
    }

    /// Whether a content checker said no.
    pub fn is_moderation(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.problem.kind == "content_policy_violation")
    }

    fn with(problem: Problem, status: u16, retryable: bool) -> Self {
        Self::Refused(Box::new(Refusal { problem, status, retryable }))
    }

    /// Something about a field: 422, never retried.
    pub(crate) fn field(problem: Problem) -> Self {
        Self::with(problem, 422, false)
    }

    /// A field whose value cannot be used.
    pub(crate) fn value(field: &str, msg: impl Into<String>) -> Self {
        Self::field(Problem::new(&[field], "value_error", msg))
    }

    /// A value that fal allows and the maker cannot express.
    pub(crate) fn unsupported(field: &str, msg: impl Into<String>) -> Self {
        Self::field(Problem::new(&[field], "feature_not_supported", msg))
    }

    /// A word that is not one of those allowed.
    pub(crate) fn one_of(field: &str, expected: &[&str], given: &Value) -> Self {
        let msg = format!("Input should be one of {}", expected.join(", "));
        Self::field(Problem::new(&[field], "one_of", msg).with("expected", expected.to_vec()).given(given))
    }

    /// The maker's content checker said no; `field` is what it looked at.
    pub(crate) fn moderated(field: &str) -> Self {
        let msg = "The content could not be processed because it contained material flagged by a content checker.";
        Self::field(Problem::new(&[field], "content_policy_violation", msg))
    }

    /// The maker was content and made nothing.
    pub(crate) fn nothing() -> Self {
        let msg = "The model did not generate the expected output for this prompt.";
        Self::field(Problem::new(&["prompt"], "no_media_generated", msg))
    }

    /// The maker refused or failed, and no field is to blame.
    pub(crate) fn failed(maker: &str, retryable: bool) -> Self {
        let msg = match retryable {
            true => format!("{maker} failed on this request; try again"),
            false => format!("{maker} refused this request; the log of the request says more"),
        };
        Self::with(Problem::new(&[], "downstream_service_error", msg), 400, retryable)
    }

    /// The maker is out of reach for now, or for this owner.
    pub(crate) fn unavailable(msg: impl Into<String>, retryable: bool) -> Self {
        Self::with(Problem::new(&[], "downstream_service_unavailable", msg), 500, retryable)
    }

    /// Nothing was asked of the maker, for this reason, which passes.
    pub(crate) fn unready(why: &str) -> Self {
        Self::unavailable(format!("The pictures of this request cannot be made ready now: {why}; try again"), true)
    }

    /// Nobody knows what became of it in time.
    pub(crate) fn late(maker: &str, retryable: bool) -> Self {
        let msg = match retryable {
            true => format!("The time for this request passed before {maker} had room for it; nothing was billed"),
            false => {
                format!("{maker} did not finish this request in time; it may have been billed, so it is not sent again")
            }
        };
        Self::with(Problem::new(&[], "generation_timeout", msg), 504, retryable)
    }

    /// A mistake of ours.
    pub(crate) fn internal(msg: impl Into<String>) -> Self {
        Self::with(Problem::new(&[], "internal_server_error", msg), 500, false)
    }
}
