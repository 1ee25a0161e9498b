//! Why an adapter cannot be had, for the caller who named it.

use scumble_api::{InputWeights, Problem};

use super::escaped;

/// What is wrong, and at which of the fields that name an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    at: At,
    kind: &'static str,
    said: String,
    max: Option<u64>,
    /// What a host answered instead.
    status: Option<u16>,
}

/// One of the fields that name an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Path,
    Subfolder,
    WeightName,
}

impl Trouble {
    /// Something else has to be named.
    pub(super) fn named(at: At, said: impl Into<String>) -> Self {
        Self { at, kind: "value_error", said: said.into(), max: None, status: None }
    }

    /// It is there, perhaps, and cannot be read.
    pub(super) fn unread(said: impl Into<String>) -> Self {
        Self { at: At::Path, kind: "file_download_error", said: said.into(), max: None, status: None }
    }

    /// More than is kept of all adapters together.
    pub(super) fn never_fits(max: u64) -> Self {
        let said = format!(
            "the adapter needs more than {max} bytes, which is all that this server has for adapters ([adapters] \
             cache_bytes)"
        );
        Self { at: At::Path, kind: "file_too_large", said, max: Some(max), status: None }
    }

    /// More than may be.
    pub(super) fn too_large(max: u64) -> Self {
        let said = format!(
            "the adapter is larger than {max} bytes, which is the most that this server takes ([adapters] max_bytes)"
        );
        Self { at: At::Path, kind: "file_too_large", said, max: Some(max), status: None }
    }

    /// The same of a repository that the hub does not show. `written` is what the caller wrote, where that could have been
    /// meant otherwise.
    pub(super) fn of_repository(self, owner: &str, name: &str, written: Option<&str>) -> Self {
        let otherwise = written.map_or_else(String::new, |written| {
            format!(". It was taken for a repository: write ./{written} for what is in a folder here")
        });
        match self.status {
            Some(status @ (401 | 403 | 404)) => Self {
                said: format!(
                    "the hub shows no repository {owner}/{name} (it answered {status}); check its name and revision. A \
                     private or gated one needs the token of the owner of this server (HF_TOKEN){otherwise}"
                ),
                ..self
            },
            _ => self,
        }
    }

    /// At its field in the input.
    pub(super) fn problem(self, weights: &InputWeights) -> Problem {
        let path = match self.at {
            At::Path => None,
            At::Subfolder => weights.subfolder.as_ref(),
            At::WeightName => weights.weight_name.as_ref(),
        };
        let (path, text) = path.map_or((&weights.path, &weights.source), |(path, text)| (path, text));
        let loc: Vec<&str> = path.iter().map(String::as_str).collect();
        let (shown, said) = (super::shown(text), escaped(&self.said));
        let said = if shown.is_empty() { said } else { format!("{shown}: {said}") };
        let problem = Problem::new(&loc, self.kind, said);
        let problem = match self.max {
            Some(max) => problem.with("max_size", max),
            None => problem,
        };
        if super::is_data(text) { problem } else { problem.given(&super::unsigned(text).into()) }
    }
}

impl From<scumble_fetch::Error> for Trouble {
    fn from(error: scumble_fetch::Error) -> Self {
        match error {
            scumble_fetch::Error::TooLarge { max } => Self::too_large(max),
            scumble_fetch::Error::Status { status, .. } => {
                Self { status: Some(status), ..Self::unread(error.to_string()) }
            }
            error => Self::unread(error.to_string()),
        }
    }
}
