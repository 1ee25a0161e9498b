//! What can go wrong, for the people who gave the URL: what is wrong, what is allowed, what to do.
//!
//! Messages hold nothing that the caller could not know: the host as it was written, never the address behind it.

use std::time::Duration;

/// The result of everything that opens URLs.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A URL could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No URL at all.
    #[error("this is not a URL ({reason}); give one that begins with https:// or http://")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// A URL of another kind.
    #[error("a {scheme}: URL cannot be opened here; give one that begins with https:// or http://")]
    Scheme {
        /// What it begins with.
        scheme: String,
    },
    /// A URL with a user name or password.
    #[error("the URL holds a user name or a password, which are not sent; give a public or a presigned URL")]
    Credentials,
    /// Somewhere that is not on the public internet.
    #[error(
        "{host} is not on the public internet; give a public address, or ask the owner of this server to allow \
         private ones"
    )]
    Private {
        /// As it was written.
        host: String,
    },
    /// A name without an address.
    #[error("no address was found for the host {host}; check its spelling, or try again later")]
    UnknownHost {
        /// As it was written.
        host: String,
    },
    /// No connection.
    #[error("{host} does not accept connections ({reason}); check host and port, or try again later")]
    Unreachable {
        /// As it was written.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// No encryption.
    #[error("no secure connection to {host} is possible ({reason}); check its certificate")]
    Tls {
        /// As it was written.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// No word in time.
    #[error("{host} was too slow: it took longer than {} s {doing}; try a faster host", limit.as_secs_f64())]
    TooSlow {
        /// As it was written.
        host: String,
        /// What it was asked for.
        doing: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// Too many bytes.
    #[error("the file is larger than {max} bytes, which is the most that is read; give a smaller one")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// From pillar to post.
    #[error("the URL redirects more than {max} times; give the URL that it leads to")]
    TooManyRedirects {
        /// The limit.
        max: usize,
    },
    /// A redirect to nowhere.
    #[error("{host} redirects without saying where to; give the URL of the file itself")]
    LostRedirect {
        /// As it was written.
        host: String,
    },
    /// The host said no.
    #[error("{host} answered {status} instead of the file; check that the URL is right and public")]
    Status {
        /// As it was written.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// The host does not speak HTTP.
    #[error("the answer of {host} is incomplete or is not HTTP ({reason}); try again, or use another host")]
    Protocol {
        /// As it was written.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// The body is not the file itself.
    #[error("{host} sends the file compressed ({encoding}) although it was asked not to; use another host")]
    Encoded {
        /// As it was written.
        host: String,
        /// How.
        encoding: String,
    },
    /// No room for the file.
    #[error("the memory of this server is taken by other requests; try again in some seconds")]
    Busy,
    /// A data URI that is none.
    #[error("this is not a data URI ({reason}); it has the form data:image/png;base64,…")]
    Data {
        /// What is wrong with it.
        reason: String,
    },
}

/// What a host is doing that has not accepted a connection.
pub(crate) const CONNECTING: &str = "to accept a connection";

impl Error {
    /// Whether the host may have got the request. What it does with one that it got, nobody knows.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Malformed { .. }
            | Self::Scheme { .. }
            | Self::Credentials
            | Self::Private { .. }
            | Self::UnknownHost { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Data { .. } => false,
            Self::TooSlow { doing, .. } => *doing != CONNECTING,
            Self::TooLarge { .. }
            | Self::TooManyRedirects { .. }
            | Self::LostRedirect { .. }
            | Self::Status { .. }
            | Self::Protocol { .. }
            | Self::Busy
            | Self::Encoded { .. } => true,
        }
    }

    /// Whether the same URL might work later, with nothing changed here.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::UnknownHost { .. }
            | Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::TooSlow { .. }
            | Self::Status { .. }
            | Self::Busy
            | Self::Protocol { .. } => true,
            Self::Malformed { .. }
            | Self::Scheme { .. }
            | Self::Credentials
            | Self::Private { .. }
            | Self::TooLarge { .. }
            | Self::TooManyRedirects { .. }
            | Self::LostRedirect { .. }
            | Self::Encoded { .. }
            | Self::Data { .. } => false,
        }
    }
}
