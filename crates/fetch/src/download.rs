//! Files that are too large to be held: they are read piece by piece, and whoever reads puts the pieces somewhere.

use std::fmt;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::exchange::{Body, Exchange};
use crate::fetcher::{Fetcher, text};
use crate::target::{check, check_url, host};
use crate::{Error, Result};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where it is.
    pub url: &'a str,
    /// Largest body.
    pub max_bytes: u64,
    /// What the host called the version that is here already.
    pub known: Option<&'a Version>,
    /// Who asks, for one host alone.
    pub pass: Option<&'a Pass>,
}

/// An `Authorization` that goes to one host and nowhere else: not to where that host redirects.
#[derive(Clone)]
pub struct Pass {
    origin: url::Origin,
    value: HeaderValue,
    /// Which paths of that host it is for.
    paths: fn(&[&str]) -> bool,
    /// How many parts of a path come before those that are asked about.
    below: usize,
}

/// What a host calls one version of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// Its `ETag`.
    Tag(String),
    /// Its `Last-Modified`.
    Date(String),
}

/// The answer.
#[derive(Debug)]
pub enum Opened {
    /// The version that is known is still the one that is there.
    Unchanged,
    /// The file, from its beginning.
    File(Box<Download>),
}

/// A file on its way. Dropping it closes the connection.
pub struct Download {
    /// Where it was in the end.
    pub url: Url,
    /// What the host calls it.
    pub version: Option<Version>,
    /// How long it is, where the host says so.
    pub length: Option<u64>,
    body: Body,
}

impl Pass {
    /// Says `Bearer TOKEN` to the host of this URL.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no URL, or a token that no header can hold.
    pub fn bearer(url: &str, token: &str) -> Result<Self> {
        let malformed = |reason: String| Error::Malformed { reason };
        let url = Url::parse(url).map_err(|e| malformed(e.to_string()))?;
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| malformed("the token holds signs that a header cannot hold".to_owned()))?;
        value.set_sensitive(true);
        let below = parts(&url).filter(|part| !part.is_empty()).count();
        Ok(Self { origin: url.origin(), value, paths: |_| true, below })
    }

    /// The same for some paths alone, whose parts below the URL of that host are told.
    #[must_use]
    pub fn only(self, paths: fn(&[&str]) -> bool) -> Self {
        Self { paths, ..self }
    }

    fn is_for(&self, url: &Url) -> bool {
        let parts: Vec<&str> = parts(url).skip(self.below).collect();
        self.origin.is_tuple() && url.origin() == self.origin && (self.paths)(&parts)
    }
}

fn parts(url: &Url) -> impl Iterator<Item = &str> {
    url.path_segments().into_iter().flatten()
}

/// One question to a host, with nothing followed.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// The HTTP method: `GET` or `HEAD`.
    pub method: Method,
    /// Where to.
    pub url: &'a Url,
    /// Beside those that every request has.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// Who asks, for one host alone.
    pub pass: Option<&'a Pass>,
    /// Largest body.
    pub max_bytes: u64,
}

/// Whatever a host said, its body still on the way. Dropping it closes the connection.
pub struct Heard {
    /// The HTTP status.
    pub status: u16,
    /// As they came.
    pub headers: HeaderMap,
    body: Body,
}

impl Heard {
    /// The next piece of the body; `None` once all of it has come.
    ///
    /// # Errors
    /// The host is silent for too long, breaks off, or sends more than may be.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.body.next().await
    }

    /// The value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Fetcher {
    /// Asks once and waits for the head of the answer, whatever it is: redirects and refusals too. Nothing here limits the
    /// time of the whole: that is for whoever reads.
    ///
    /// # Errors
    /// Whatever keeps the host from answering, or a body that is announced to be larger than may be.
    pub async fn ask(&self, asked: Asked<'_>) -> Result<Heard> {
        let url = check_url(asked.url.clone(), self.guard.reach)?;
        let mut request = self.request(asked.method, &url, Bytes::new())?;
        request.headers_mut().extend(asked.headers.iter().cloned());
        if let Some(pass) = asked.pass.filter(|pass| pass.is_for(&url)) {
            request.headers_mut().insert(header::AUTHORIZATION, pass.value.clone());
        }
        let exchange = self.exchange(&url, request, self.config.idle_timeout).await?;
        let (status, headers) = (exchange.status(), exchange.headers().clone());
        Ok(Heard { status, headers, body: exchange.into_body(asked.max_bytes, self.config.idle_timeout)? })
    }

    /// Where an answer redirects to, checked as the first URL was; `None` for one that does not.
    ///
    /// # Errors
    /// A redirect that leads nowhere, or where nothing may be opened.
    pub fn redirected(&self, from: &Url, heard: &Heard) -> Result<Option<Url>> {
        match heard.status {
            301 | 302 | 303 | 307 | 308 => self.next(from, heard.headers.get(header::LOCATION)).map(Some),
            _ => Ok(None),
        }
    }

    /// Asks for a file, following redirects, and waits for the head of the answer. Nothing here limits the time of the
    /// whole: that is for whoever reads.
    ///
    /// # Errors
    /// Whatever keeps the URL from being a file within the limits.
    pub async fn open(&self, wanted: Wanted<'_>) -> Result<Opened> {
        let mut url = check(wanted.url, self.guard.reach)?;
        for _ in 0..=self.config.max_redirects {
            let mut request = self.request(Method::GET, &url, Bytes::new())?;
            wanted.add_to(request.headers_mut(), &url);
            let exchange = self.exchange(&url, request, self.config.idle_timeout).await?;
            match exchange.status() {
                304 if wanted.known.is_some() => return Ok(Opened::Unchanged),
                200 => return self.download(url, exchange, wanted.max_bytes).map(|file| Opened::File(Box::new(file))),
                301 | 302 | 303 | 307 | 308 => url = self.next(&url, exchange.headers().get(header::LOCATION))?,
                status => return Err(Error::Status { host: host(&url), status }),
            }
        }
        Err(Error::TooManyRedirects { max: self.config.max_redirects })
    }

    fn download(&self, url: Url, exchange: Exchange, max_bytes: u64) -> Result<Download> {
        let said = |name| text(exchange.headers().get(name)).filter(|value: &String| value.len() <= VERSION_MAX);
        let version = said(header::ETAG).map(Version::Tag).or_else(|| said(header::LAST_MODIFIED).map(Version::Date));
        let body = exchange.into_body(max_bytes, self.config.idle_timeout)?;
        Ok(Download { url, version, length: body.length(), body })
    }
}

/// Longer names of versions are as good as none.
const VERSION_MAX: usize = 1024;

impl Wanted<'_> {
    fn add_to(&self, headers: &mut HeaderMap, url: &Url) {
        let known = self.known.and_then(|version| match version {
            Version::Tag(tag) => Some((header::IF_NONE_MATCH, HeaderValue::from_str(tag).ok()?)),
            Version::Date(date) => Some((header::IF_MODIFIED_SINCE, HeaderValue::from_str(date).ok()?)),
        });
        headers.extend(known);
        if let Some(pass) = self.pass.filter(|pass| pass.is_for(url)) {
            headers.insert(header::AUTHORIZATION, pass.value.clone());
        }
    }
}

impl Download {
    /// The next piece; `None` once all of it has come.
    ///
    /// # Errors
    /// The host is silent for too long, breaks off, or sends more than may be.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.body.next().await
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pass(for {})", self.origin.ascii_serialization())
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heard({})", self.status)
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Download({}, {:?} bytes)", host(&self.url), self.length)
    }
}
