//! How a command ends when it does not succeed: one message, one exit code.

use std::process::ExitCode;

use scumble_worker::runner::RunError;

use crate::out;

/// What went wrong, by exit code. The codes are documented in docs/CLI.md and printed by `scumble --help`.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: the model or the server failed.
    Failed(String),
    /// 2: the command or its input is wrong; clap uses this code too.
    Usage(String),
    /// 3: there are no weights, or they cannot be used.
    Weights(String),
    /// 4: a file, folder, database or address cannot be used.
    System(String),
    /// Several at once, a line each. What they have in common decides: 2 or 3 where all of them do, else 4.
    Several(Vec<Self>),
    /// 0: whoever read the result has closed the pipe, as `head` does, and has what they wanted.
    Unread,
    /// 130: interrupted.
    Interrupted,
}

impl Failure {
    /// Prints the message and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Unread => {}
            Self::Several(all) => all.iter().for_each(|one| out::error(&one.message())),
            one => out::error(&one.message()),
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Weights(_) => 3,
            Self::System(_) => 4,
            Self::Several(all) => {
                let first = all.first().map_or(4, Self::code);
                if all.iter().all(|one| one.code() == first) { first } else { 4 }
            }
            Self::Interrupted => 130,
        }
    }

    /// One or several as one; nothing where there is none.
    pub(crate) fn of(mut all: Vec<Self>) -> Option<Self> {
        match all.len() {
            0 | 1 => all.pop(),
            _ => Some(Self::Several(all)),
        }
    }

    /// The same code with another message.
    pub(crate) fn in_short(&self, message: String) -> Self {
        match self.code() {
            1 => Self::Failed(message),
            2 => Self::Usage(message),
            3 => Self::Weights(message),
            _ => Self::System(message),
        }
    }

    /// The message alone.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Failed(message) | Self::Usage(message) | Self::Weights(message) | Self::System(message) => {
                message.clone()
            }
            Self::Several(all) => all.iter().map(Self::message).collect::<Vec<_>>().join("; "),
            Self::Unread => "nobody reads the result".to_owned(),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }

    /// A file or folder that does not cooperate.
    pub(crate) fn about(what: &str, path: &std::path::Path, error: impl std::fmt::Display) -> Self {
        Self::System(format!("cannot {what} {}: {error}", path.display()))
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Cancelled => Self::Interrupted,
            RunError::Invalid(_) => Self::Usage(error.to_string()),
            RunError::Unavailable(message) => Self::Weights(message),
            RunError::Answered(answer) => Self::Failed(answer.message()),
            RunError::Passing { reason: message, .. } | RunError::Failed(message) => Self::Failed(message),
        }
    }
}

impl From<scumble_hub::Error> for Failure {
    fn from(error: scumble_hub::Error) -> Self {
        let said = error.to_string();
        if error.is_of_system() { Self::System(said) } else { Self::Weights(said) }
    }
}

impl From<scumble_store::Error> for Failure {
    fn from(error: scumble_store::Error) -> Self {
        Self::System(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_failures_have_the_code_that_all_of_them_have() {
        let code = |all: Vec<Failure>| Failure::of(all).map(|failure| failure.code());
        let (weights, system) = (|| Failure::Weights("no folder".to_owned()), || Failure::System("no disk".to_owned()));
        assert_eq!(code(vec![]), None);
        assert_eq!(code(vec![weights()]), Some(3));
        assert_eq!(code(vec![weights(), weights()]), Some(3));
        assert_eq!(code(vec![weights(), system()]), Some(4));
        assert_eq!(code(vec![Failure::Usage("no key".to_owned()), weights()]), Some(4));
    }
}
