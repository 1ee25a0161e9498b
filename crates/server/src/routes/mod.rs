//! The routes, grouped by who calls.

pub(crate) mod catalogue;
pub(crate) mod files;
mod jwks;
mod metrics;
mod openai;
mod probes;
pub(crate) mod queue;
pub(crate) mod realtime;
mod run;
mod stream;
mod table;
pub(crate) mod tokens;
pub(crate) mod uploads;
mod ws;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use scumble_meters::{Class, Meters};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use self::openai::{refused_as_asked, speaks_openai};
pub(crate) use self::realtime::endpoint_of as realtime_of;
pub(crate) use self::stream::endpoint_of as stream_of;
#[cfg(feature = "fuzz")]
pub(crate) use self::stream::jpeg_size;
pub(crate) use self::table::Table;
pub(crate) use self::uploads::LIST_BYTES_MAX;
use crate::addressing::address;
use crate::auth::take_token;
use crate::held;
use crate::keyless::guard;
use crate::middleware::{cors, errors_in_json, identified, long_bodies, panicked, with_retry_after};
use crate::pages;
use crate::state::AppState;
use crate::unpack::unpack;

/// What a worker on its own answers: that it lives, that it reaches its database, and what it counts.
pub fn probe_router(state: &AppState) -> Router {
    // who asks for metrics has to say whom they mean, probes need not
    let metrics = get(metrics::guarded).layer(from_fn_with_state(state.clone(), address));
    for_machines(probes().route("/metrics", metrics).with_state(state.clone()), state)
}

/// What is answered on the address that the owner has chosen for metrics: these, and the probes.
pub fn metrics_router(state: &AppState) -> Router {
    for_machines(probes().route("/metrics", get(metrics::open)).with_state(state.clone()), state)
}

fn probes() -> Router<AppState> {
    Router::new().route("/health", get(probes::health)).route("/ready", get(probes::ready))
}

fn for_machines(router: Router, state: &AppState) -> Router {
    let around = ServiceBuilder::new()
        .map_response(counted(&state.config.meters))
        .layer(from_fn(identified))
        .map_response(with_retry_after)
        .map_response(IntoResponse::into_response)
        .layer(CatchPanicLayer::custom(panicked))
        .map_response(errors_in_json);
    router.layer(around)
}

/// Counts an answer.
fn counted(meters: &Meters) -> impl Fn(Response) -> Response + Clone + Send + Sync + use<> {
    let meters = meters.clone();
    move |response| {
        meters.http.responses.of(Class::of(response.status().as_u16())).inc();
        response
    }
}

/// Every path that is routed; whatever else is asked for goes to the fallback.
pub fn paths() -> Vec<&'static str> {
    table().into_paths()
}

/// Who calls where.
fn table() -> Table {
    Table::default()
        // programs: direct calls, streams, realtime, the queue
        .route("/run/{*id}", get(run::with_query).post(run::with_body))
        .route("/run", any(run::without_id))
        .route("/run/", any(run::without_id))
        .route("/queue/{*path}", queue::routes())
        .route("/queue", any(run::without_id))
        .route("/queue/", any(run::without_id))
        .route("/ws/{*id}", get(ws::open))
        .route("/ws", any(run::without_id))
        .route("/ws/", any(run::without_id))
        .route("/rest/tokens", post(tokens::bare))
        .route("/rest/tokens/", post(tokens::bare))
        .route("/rest/tokens/realtime", post(tokens::realtime))
        .route("/rest/tokens/realtime/", post(tokens::realtime))
        // clients with files: leave to upload
        .route("/rest/storage/upload/initiate", post(uploads::initiate))
        .route("/rest/storage/upload/initiate-multipart", post(uploads::initiate_parts))
        .route("/rest/storage/auth/token", post(uploads::token))
        // …and the bytes
        .route("/cdn/put/{*path}", put(uploads::put).post(uploads::complete))
        .route("/cdn/files/upload", post(uploads::direct))
        .route("/cdn/files/upload/multipart", post(uploads::begin_parts))
        // anybody with the URL of a file
        .route("/cdn/files/{*path}", get(files::read).put(uploads::put_part).post(files::post))
        .route("/files/{*path}", get(files::read).put(uploads::put_part).post(files::post))
        // receivers of webhooks
        .route("/rest/.well-known/jwks.json", get(jwks::read))
        // programs that look for something to call
        .route("/v1/models", get(openai::list))
        .route("/v1/models/{*id}", get(openai::model))
        // programs that speak OpenAI's API
        .route("/v1/images/generations", post(openai::generate))
        .route("/v1/images/edits", post(openai::edit))
        .route("/v1/images/variations", post(openai::vary))
        .route("/v1", any(openai::unknown))
        .route("/v1/{*path}", any(openai::unknown))
        .route("/api/openapi/queue/openapi.json", get(catalogue::queue_openapi))
        .route("/llms.txt", get(catalogue::overview))
        .route("/openapi.json", get(catalogue::openapi))
        // machines
        .route("/health", get(probes::health))
        .route("/ready", get(probes::ready))
        .route("/metrics", get(metrics::guarded))
        // people
        .merge(pages::routes())
}

/// The whole HTTP face.
pub fn router(state: AppState) -> Router {
    // a bare endpoint id is a direct call
    let services = table().into_router().fallback(run::bare).with_state(state.clone());
    // A request passes these from the first to the last, its answer the other way round. One stack, because a router
    // clones each layer of its own, with all that is inside it, for each request.
    let around = ServiceBuilder::new()
        .map_response(counted(&state.config.meters))
        // outside of the leave that it takes back
        .map_response(pages::keep_private)
        .layer(cors())
        .layer(from_fn(identified))
        .map_response(with_retry_after)
        .map_response(IntoResponse::into_response)
        .layer(CatchPanicLayer::custom(panicked))
        .map_response(errors_in_json)
        // changes the path that routes see; the outer router exists for that reason
        .layer(from_fn_with_state(state.clone(), address))
        // everything inside of it that says no
        .layer(from_fn(openai::envelope))
        // before anything looks at the query
        .map_request(take_token)
        // before anything is read but the head
        .layer(from_fn_with_state(state.clone(), guard))
        .layer(DefaultBodyLimit::max(state.config.body_bytes))
        .layer(from_fn_with_state(state.clone(), long_bodies))
        .layer(from_fn(unpack))
        // innermost: what is counted is what handlers hold
        .layer(from_fn_with_state(state, held::bodies));
    Router::new().fallback_service(services).layer(around)
}
