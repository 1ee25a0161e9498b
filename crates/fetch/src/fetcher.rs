//! The client: read a file, call a webhook.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use tokio::time::timeout;
use url::Url;

use crate::budget::{Budget, Share};
use crate::connect::connect;
use crate::exchange::Exchange;
use crate::resolve::{Guard, Resolve, SystemResolver};
use crate::target::{authority, check, check_url, host, path_and_query, reach, verbatim};
use crate::tls::Tls;
use crate::{Config, Error, Limits, Result};

/// How much of an answer to a webhook is read before the connection is closed, and for how long: enough for polite
/// hosts to see that they were heard.
const ANSWER_BYTES: u64 = 16 * 1024;
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Opens URLs that users give. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    pub(crate) config: Config,
    pub(crate) guard: Guard,
    tls: Tls,
    /// What files that are read draw on.
    budget: Option<Budget>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// All of it.
    pub bytes: Bytes,
    /// What the host says it is.
    pub content_type: Option<String>,
    /// Where it was in the end.
    pub url: Url,
}

/// What came back from a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
}

/// A request to a service: not a file to read, but something to be answered.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// The HTTP method.
    pub method: Method,
    /// Path and query are sent as they are written here.
    pub url: &'a str,
    /// Beside those that every request has.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// May be empty.
    pub body: Bytes,
    /// For the answer, and for everything together.
    pub limits: Limits,
}

/// Whatever a service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// As they came.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

impl Fetcher {
    /// A client with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_resolver(config, Arc::new(SystemResolver))
    }

    /// A client that looks names up its own way. What it finds is checked all the same.
    #[must_use]
    pub fn with_resolver(config: Config, resolver: Arc<dyn Resolve>) -> Self {
        let guard = Guard { resolver, reach: reach(config.allow_private) };
        Self { config, guard, tls: Tls::default(), budget: None }
    }

    /// The same, on a budget: files are read while there is room for them.
    #[must_use]
    pub fn within(self, budget: Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Reads the file behind a URL, following redirects.
    ///
    /// # Errors
    /// Whatever keeps the URL from being a file within the limits.
    pub async fn get(&self, url: &str, limits: Limits) -> Result<Fetched> {
        let first = check(url, self.guard.reach)?;
        let late = Error::TooSlow { host: host(&first), doing: "to send the file", limit: limits.time };
        in_time(limits.time, late, self.follow(first, limits.bytes)).await
    }

    /// Posts a body and tells the status of the answer. Redirects are answers like others.
    ///
    /// # Errors
    /// Whatever keeps the URL from answering in time.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer> {
        let url = check(url, self.guard.reach)?;
        let late = Error::TooSlow { host: host(&url), doing: "to answer", limit };
        let exchange = in_time(limit, late, async {
            let mut request = self.request(Method::POST, &url, body)?;
            request.headers_mut().extend(headers.iter().cloned());
            self.exchange(&url, request, limit).await
        });
        let exchange = exchange.await?;
        let answer = Answer { status: exchange.status() };
        // the status is all that counts; what is wrong with the rest is nobody's concern
        let _ = timeout(ANSWER_TIME, exchange.body(ANSWER_BYTES, ANSWER_TIME, None)).await;
        Ok(answer)
    }

    /// Sends a message and reads the whole answer, whatever its status. Redirects are answers like others: what is in
    /// the headers goes nowhere else.
    ///
    /// # Errors
    /// Whatever keeps the service from answering within the limits; [`Error::was_sent`] says whether it may have heard.
    pub async fn send(&self, message: Message<'_>) -> Result<Reply> {
        let url = check(message.url, self.guard.reach)?;
        let limit = message.limits.time;
        let tail = verbatim(message.url).unwrap_or_else(|| path_and_query(&url));
        let mut request = self.request_to(message.method, &url, tail, message.body)?;
        request.headers_mut().extend(message.headers.iter().cloned());
        // connecting has a limit of its own, so that lateness there is told apart: nothing was sent then
        let stream = connect(&url, &self.guard, &self.tls, self.config.connect_timeout.min(limit)).await?;
        let late = Error::TooSlow { host: host(&url), doing: "to answer", limit };
        in_time(limit, late, async {
            let exchange = Exchange::begin(&url, stream, request, limit).await?;
            let (status, headers) = (exchange.status(), exchange.headers().clone());
            Ok(Reply { status, headers, body: exchange.body(message.limits.bytes, limit, self.room()).await? })
        })
        .await
    }

    /// From redirect to redirect to the file.
    async fn follow(&self, mut url: Url, max_bytes: u64) -> Result<Fetched> {
        let patience = self.config.idle_timeout;
        for _ in 0..=self.config.max_redirects {
            let request = self.request(Method::GET, &url, Bytes::new())?;
            let exchange = self.exchange(&url, request, patience).await?;
            match exchange.status() {
                200..=299 => {
                    let content_type = text(exchange.headers().get(header::CONTENT_TYPE));
                    return Ok(Fetched {
                        content_type,
                        bytes: exchange.body(max_bytes, patience, self.room()).await?,
                        url,
                    });
                }
                301 | 302 | 303 | 307 | 308 => url = self.next(&url, exchange.headers().get(header::LOCATION))?,
                status => return Err(Error::Status { host: host(&url), status }),
            }
        }
        Err(Error::TooManyRedirects { max: self.config.max_redirects })
    }

    /// Where a redirect leads, checked as if a user had written it.
    pub(crate) fn next(&self, from: &Url, location: Option<&HeaderValue>) -> Result<Url> {
        let location = text(location).ok_or_else(|| Error::LostRedirect { host: host(from) })?;
        check_url(from.join(&location).map_err(|e| Error::Malformed { reason: e.to_string() })?, self.guard.reach)
    }

    fn room(&self) -> Option<Share> {
        self.budget.as_ref().map(Budget::share)
    }

    pub(crate) fn request(&self, method: Method, url: &Url, body: Bytes) -> Result<Request<Full<Bytes>>> {
        self.request_to(method, url, path_and_query(url), body)
    }

    fn request_to(&self, method: Method, url: &Url, tail: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let request = Request::builder()
            .method(method)
            .uri(tail)
            .header(header::HOST, authority(url))
            .header(header::USER_AGENT, self.config.user_agent)
            .header(header::ACCEPT, "*/*")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close");
        request.body(Full::new(body)).map_err(|e| Error::Malformed { reason: e.to_string() })
    }

    pub(crate) async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Exchange> {
        let stream = connect(url, &self.guard, &self.tls, self.config.connect_timeout).await?;
        Exchange::begin(url, stream, request, patience).await
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetcher({:?})", self.config)
    }
}

async fn in_time<T>(limit: Duration, late: Error, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(limit, work).await.unwrap_or(Err(late))
}

pub(crate) fn text(header: Option<&HeaderValue>) -> Option<String> {
    header.and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
