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
    pub(crate) fn report(self) -> ExitCode {
        let (code, message) = self.parts();
        eprintln!("error: {message}");
        ExitCode::from(code)
    }

    /// What went wrong, as part of something larger.
    pub(crate) fn message(self) -> String {
        self.parts().1
    }

    fn parts(self) -> (u8, String) {
        match self {
            Self::Failed(message) => (1, message),
            Self::Usage(message) => (2, message),
            Self::Weights(message) => (3, message),
            Self::System(message) => (4, message),
            Self::Interrupted => (130, "interrupted".to_owned()),
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
            RunError::Failed(message) | RunError::Passing { reason: message, .. } => Self::Failed(message),
        }
    }
}

impl From<scumble_store::Error> for Failure {
    fn from(error: scumble_store::Error) -> Self {
        Self::System(error.to_string())
    }
}
