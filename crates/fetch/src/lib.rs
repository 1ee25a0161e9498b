//! The one HTTP client of Scumble for URLs that users give: pictures to read, webhooks to call; and for services that
//! the owner named.
//!
//! A URL from outside is a request to this machine, made by whoever wrote it. [`Fetcher`] therefore opens only what
//! that person could open too, and only as much of it as was agreed:
//!
//! - http and https, without user names or passwords in the URL;
//! - public addresses, unless the owner allows private ones. A name is looked up once per connection, its addresses
//!   are checked, and exactly those are connected to, so that a name server cannot change its mind in between;
//! - redirects by hand, a few of them, each checked as the first URL was; never for webhooks;
//! - limits on bytes and on time: to connect, between two pieces, in all;
//! - room in the [`Budget`] of the process for what is read;
//! - no cookies, no proxies from the environment, no compression, nothing of one call in another.
//!
//! Connections are made with hyper, one per request: what a general client does beyond that (pools, proxies, redirects,
//! decompression) would have to be switched off here. Nothing in this crate knows jobs or endpoints.

mod address;
mod budget;
mod config;
mod connect;
mod download;
mod error;
mod exchange;
mod fetcher;
mod resolve;
mod source;
mod target;
mod tls;

pub use address::is_public;
pub use budget::{Budget, Exhausted, Share};
pub use config::{Config, Limits};
pub use download::{Asked, Download, Heard, Opened, Pass, Version, Wanted};
pub use error::{Error, Result};
pub use fetcher::{Answer, Fetched, Fetcher, Message, Reply};
pub use hyper::Method;
pub use hyper::header::{HeaderMap, HeaderName, HeaderValue};
pub use resolve::{Resolve, SystemResolver};
pub use source::{DataUri, Source};
pub use target::check_target;
pub use url::{Host, Url};
