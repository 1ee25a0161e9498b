//! `CONNECT`, for programs that reach fal through `HTTPS_PROXY`.
//!
//! This is no proxy: a tunnel to one of the service names ends in this server, which shows its own certificate for that
//! name. Nothing is ever connected to, and no other name is answered.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::connection::Connection;
use super::course::Course;
use crate::answer::{REQUEST_ID, Refusal};
use crate::hosts::Hosts;

const HTTPS_PORT: u16 = 443;

impl Connection {
    /// Answers `CONNECT host:port`, and serves what comes through the tunnel.
    pub(super) fn tunnel(mut self, request: Request<Incoming>, course: &Course) -> Response {
        let tls = match self.how.tls.clone() {
            Some(tls) if self.how.connect && !self.tunnelled => tls,
            _ => return refused(405, "CONNECT is not served here; the owner of this server can allow it: --connect"),
        };
        if !is_ours(&self.how.hosts, request.uri()) {
            return refused(403, "CONNECT is for fal's service names on port 443 only");
        }
        course.hand_over();
        let upgraded = hyper::upgrade::on(request);
        self.tunnelled = true;
        self.open.clone().spawn(async move {
            match upgraded.await {
                Ok(io) => self.secure(TokioIo::new(io), tls).await,
                Err(error) => tracing::debug!(%error, "a tunnel ended before it began"),
            }
        });
        Response::new(Body::empty())
    }
}

/// Whether a tunnel to this target would end here.
pub(crate) fn is_ours(hosts: &Hosts, target: &Uri) -> bool {
    target.port_u16() == Some(HTTPS_PORT) && target.host().is_some_and(|host| hosts.find(host).is_some())
}

/// The routes' middleware does not see these requests, so what every answer has is added here.
pub(super) fn refused(status: u16, detail: &str) -> Response {
    let mut refusal = Refusal::plain(status, detail);
    if status == 405 {
        refusal = refusal.with("allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS");
    }
    let mut response = refusal.into_response();
    if let Ok(value) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
