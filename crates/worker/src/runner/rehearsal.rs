//! Failures on request, so that programs can rehearse them: `[fail 503]` in a stand-in's prompt fails every attempt,
//! `[fail 503 x2]` the first two.

use scumble_api::{ErrorType, Problem};

use super::RunError;

/// The failure that a prompt asks for at this attempt, counted from 1.
pub(super) fn failure(prompt: &str, attempt: u64) -> Option<RunError> {
    let (_, rest) = prompt.split_once("[fail ")?;
    let (words, _) = rest.split_once(']')?;
    let mut words = words.split_whitespace();
    let error = error(words.next()?.parse().ok()?)?;
    let times = match words.next() {
        None => u64::MAX,
        Some(word) => word.strip_prefix('x')?.parse().ok()?,
    };
    (attempt <= times).then_some(error)
}

fn error(status: u16) -> Option<RunError> {
    let passing = |kind| RunError::Passing { kind, reason: format!("the prompt asked for a {status}") };
    match status {
        422 => {
            let msg = "The prompt asked for this failure of a content check";
            Some(RunError::Invalid(vec![Problem::new(&["prompt"], "content_policy_violation", msg)]))
        }
        500 => Some(RunError::Failed("the prompt asked for a 500".into())),
        503 => Some(passing(ErrorType::RunnerConnectionError)),
        504 => Some(passing(ErrorType::StartupTimeout)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_fails_and_only_so_often() {
        let status = |prompt: &str, attempt| failure(prompt, attempt).map(|error| error.answer().status);
        assert_eq!(status("a star [fail 503] on blue", 9), Some(503));
        assert_eq!((status("[fail 504 x2]", 2), status("[fail 504 x2]", 3)), (Some(504), None));
        assert_eq!((status("[fail 500]", 1), status("[fail 422]", 1)), (Some(500), Some(422)));
        for prompt in ["a star", "[fail]", "[fail 200]", "[fail 503 twice]", "[fail 503", "fail 503"] {
            assert_eq!(status(prompt, 1), None, "{prompt}");
        }
    }
}
