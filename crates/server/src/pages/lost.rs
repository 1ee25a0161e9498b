//! People who open an address that is for programs, or at which nothing is.

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::response::Response;

use super::layout::Frame;
use super::visitor::redirect;
use crate::addressing::{Caller, Service};
use crate::answer::Refusal;
use crate::auth::wants_websocket;
use crate::state::AppState;

/// `GET /models`: all of them are on the first page.
pub(super) async fn models(Extension(caller): Extension<Caller>) -> Response {
    redirect(&caller, "/", None)
}

/// A request that no route has taken and that nobody sends by opening an address in a browser: that is answered with a
/// page. The path of an endpoint leads to the page of its model.
pub(crate) struct ForPrograms;

impl FromRequestParts<AppState> for ForPrograms {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Response> {
        let path = parts.uri.path();
        if !opens_a_page(parts) || Service::has_path(path) {
            return Ok(Self);
        }
        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_else(Caller::unknown);
        Err(match scumble_api::find(path.trim_matches('/')) {
            Some(endpoint) => redirect(&caller, &format!("/models/{}", endpoint.id), None),
            None => {
                let frame = Frame { caller: &caller, visitor: None };
                frame.refusal(&Refusal::plain(404, &format!("Path {path} not found")))
            }
        })
    }
}

/// Whether somebody opens an address. Programs name no HTML among what they take.
fn opens_a_page(parts: &Parts) -> bool {
    let mut accepted = parts.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let reads = [Method::GET, Method::HEAD].contains(&parts.method);
    reads && accepted.any(|types| types.contains("text/html")) && !wants_websocket(&parts.headers)
}
