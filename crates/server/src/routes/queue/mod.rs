//! The queue: submit, look, fetch, cancel.
//!
//! Requests are addressed as `{app path}/requests/{request id}[/…]`; the full endpoint id in front of `/requests/` and
//! a slash at the end are accepted too.

mod cancel;
mod result;
mod status;
mod status_stream;
mod submit;

use axum::Extension;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use scumble_api::EndpointId;
use scumble_store::{JobId, JobSummary};

use cancel::cancel;
use submit::submit;

use crate::addressing::{Caller, Service};
use crate::answer::Refusal;
use crate::auth::Authorized;
use crate::middleware::wrong_method;
use crate::state::AppState;
use crate::submit::endpoint;

/// What a path below `/queue` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    id: JobId,
    app_path: String,
    what: What,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Result,
    Status,
    StatusStream,
    Cancel,
}

/// Everything below `/queue`.
pub(super) fn routes() -> MethodRouter<AppState> {
    get(read).post(submit).put(cancel).layer(from_fn(by_its_method))
}

/// Refuses what is there, but for another method.
async fn by_its_method(request: Request, next: Next) -> Response {
    let allowed = request.uri().path().strip_prefix("/queue/").and_then(allowed);
    match allowed {
        Some(allowed) if !allowed.contains(&request.method().as_str()) => {
            wrong_method(&allowed.join(", ")).into_response()
        }
        _ => next.run(request).await,
    }
}

/// The methods that a path below `/queue` takes; `None` where nothing is.
fn allowed(path: &str) -> Option<&'static [&'static str]> {
    let Some((_, rest)) = path.trim_matches('/').split_once("/requests/") else {
        return endpoint(path).is_ok().then_some(&["POST"]);
    };
    match rest.split_once('/').map(|(_, what)| what) {
        None | Some("response" | "status" | "status/stream") => Some(&["GET", "HEAD"]),
        Some("cancel") => Some(&["PUT"]),
        Some(_) => None,
    }
}

/// `GET /queue/…`: status, once or as a stream, or result.
async fn read(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    authorized: Authorized,
    Path(path): Path<String>,
    Query(query): Query<status::StatusQuery>,
) -> Result<Response, Refusal> {
    let (job, what) = find(&state, &authorized, &path).await?;
    match what {
        What::Status => status::status(&state, &caller, job, query.wants_logs()).await,
        What::StatusStream => Ok(status_stream::stream(state, caller, job.id, query.wants_logs())),
        What::Result => result::result(&state, &caller, &job).await,
        What::Cancel => Err(wrong_method("PUT")),
    }
}

/// The job that a path names, or a 404.
async fn find(state: &AppState, authorized: &Authorized, path: &str) -> Result<(JobSummary, What), Refusal> {
    known(state, authorized, path).await?.ok_or_else(|| Refusal::plain(404, "Request not found"))
}

/// The job that a path names. One of another key, or of another app, is as unknown as one that never was.
async fn known(
    state: &AppState,
    authorized: &Authorized,
    path: &str,
) -> scumble_store::Result<Option<(JobSummary, What)>> {
    let Some(Address { id, app_path, what }) = parse(path) else { return Ok(None) };
    let of_app =
        |job: &JobSummary| EndpointId::parse(&job.endpoint).is_some_and(|id| id.app_path().as_str() == app_path);
    let job = state.store.summary(id).await?;
    let job = job.filter(|job| of_app(job) && authorized.may_see(job.key_id.as_deref()));
    Ok(job.map(|job| (job, what)))
}

pub(crate) fn parse(path: &str) -> Option<Address> {
    let (endpoint, rest) = path.trim_matches('/').split_once("/requests/")?;
    let (id, what) = match rest.split_once('/') {
        None | Some((_, "response")) => (rest.split('/').next()?, What::Result),
        Some((id, "status")) => (id, What::Status),
        Some((id, "status/stream")) => (id, What::StatusStream),
        Some((id, "cancel")) => (id, What::Cancel),
        Some(_) => return None,
    };
    Some(Address { id: id.parse().ok()?, app_path: EndpointId::parse(endpoint)?.app_path().as_str().to_owned(), what })
}

/// The three URLs of a request, as this caller can reach them.
struct Urls {
    response: String,
    status: String,
    cancel: String,
}

impl Urls {
    fn of(id: JobId, endpoint: &str, caller: &Caller) -> Self {
        let app = EndpointId::parse(endpoint).map_or_else(String::new, |id| id.app_path().as_str().to_owned());
        let response = caller.url(Service::Queue, &format!("/{app}/requests/{id}"));
        Self { status: format!("{response}/status"), cancel: format!("{response}/cancel"), response }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_requests_in_every_accepted_form() {
        let id = JobId::random();
        let check = |path: String, what: What| {
            assert_eq!(parse(&path), Some(Address { id, app_path: "fal-ai/flux".into(), what }), "{path}");
        };
        check(format!("fal-ai/flux/requests/{id}"), What::Result);
        check(format!("fal-ai/flux/requests/{id}/"), What::Result);
        check(format!("fal-ai/flux/requests/{id}/response"), What::Result);
        check(format!("fal-ai/flux/dev/requests/{id}/status/"), What::Status);
        check(format!("fal-ai/flux/requests/{id}/status/stream"), What::StatusStream);
        check(format!("/fal-ai/flux/dev/requests/{id}/cancel"), What::Cancel);
        assert_eq!(parse(&format!("fal-ai/flux/requests/{id}/elsewhere")), None);
        assert_eq!(parse("fal-ai/flux/requests/not-an-id"), None);
        assert_eq!(parse(&format!("requests/{id}")), None);
    }

    #[test]
    fn paths_take_the_methods_that_mean_something_there() {
        for (path, methods) in [
            ("fal-ai/flux/dev", Some(&["POST"][..])),
            ("nobody/nothing", None),
            ("fal-ai/flux/requests/x", Some(&["GET", "HEAD"])),
            ("fal-ai/flux/requests/x/status/", Some(&["GET", "HEAD"])),
            ("fal-ai/flux/requests/x/status/stream", Some(&["GET", "HEAD"])),
            ("fal-ai/flux/requests/x/cancel", Some(&["PUT"])),
            ("fal-ai/flux/requests/x/elsewhere", None),
        ] {
            assert_eq!(allowed(path), methods, "{path}");
        }
    }
}
