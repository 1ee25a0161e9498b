//! How a command ends when it does not succeed: one message, one exit code.

use std::process::ExitCode;

use scumble_worker::runner::RunError;

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
    /// 130: interrupted.
    Interrupted,
}

impl Failure {
    /// Prints the message and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        let code = match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Weights(_) => 3,
            Self::System(_) => 4,
            Self::Interrupted => 130,
        };
        eprintln!("error: {}", self.message());
        ExitCode::from(code)
    }

    /// The message alone.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Failed(message) | Self::Usage(message) | Self::Weights(message) | Self::System(message) => {
                message.clone()
            }
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

impl From<scumble_store::Error> for Failure {
    fn from(error: scumble_store::Error) -> Self {
        Self::System(error.to_string())
    }
}
