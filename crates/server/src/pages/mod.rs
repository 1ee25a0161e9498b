//! The pages that people see in a browser: server-rendered, one stylesheet, plain modules, nothing from elsewhere.
//!
//! Templates, styles and modules are in `web/` and travel in the binary. Every page works without scripts; they only add.
//! What a page shows and does goes through the same store and the same validation as the API.

mod assets;
mod docs;
mod follow;
mod form;
mod gallery;
mod history;
mod job;
mod jobs;
mod keys;
mod labels;
mod layout;
mod literal;
mod lost;
mod model;
mod reference;
mod sign_in;
mod snippets;
mod thumbnail;
mod tries;
mod values;
mod visitor;
mod ways;

use axum::routing::{get, post};

pub(crate) use self::layout::keep_private;
pub(crate) use self::lost::ForPrograms;
pub(crate) use self::tries::Tries;
pub(crate) use self::visitor::{VisitHash, key_of_cookie, refused, visit_of_page};
pub(crate) use self::ways::Workers;
use crate::routes::Table;

/// What a form of any endpoint does with what a browser sends: read it, judge it, show it again.
#[cfg(feature = "fuzz")]
pub(crate) fn show_again(body: &[u8]) {
    let pairs = values::pairs(body);
    for endpoint in scumble_api::ENDPOINTS {
        let given = values::input(endpoint, &pairs);
        let problems = endpoint.parse(&given.clone().into(), scumble_api::Scope::Wire).err().unwrap_or_default();
        let shown = form::form(endpoint, &given, &problems, None).len();
        assert_eq!(shown, endpoint.fields().len(), "{}", endpoint.id);
        let _ = form::elsewhere(endpoint, &problems);
    }
}

/// Whether people are answered at this path, and not programs.
pub(crate) fn is_page(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let first = path.split('/').next().unwrap_or_default();
    let for_people = ["", "models", "history", "jobs", "keys", "sign-in", "sign-out", "docs"].contains(&first);
    for_people && !path.ends_with("/openapi.json") && !path.ends_with("/llms.txt")
}

/// What stands in the cookies of a request, if a page of ours may have set it.
#[cfg(feature = "fuzz")]
pub(crate) fn cookie_of(headers: &axum::http::HeaderMap) -> Option<&str> {
    visitor::cookie(headers)
}

/// Every page, beside the routes of the API.
pub(crate) fn routes() -> Table {
    Table::default()
        .route("/", get(gallery::show))
        .route("/models", get(lost::models))
        .route("/models/", get(lost::models))
        .route("/models/{*path}", get(model::show).post(model::generate))
        .route("/history", get(history::list))
        .route("/history/{id}", get(job::show))
        .route("/history/{id}/events", get(follow::events))
        .route("/history/{id}/cancel", post(job::cancel))
        .route("/history/{id}/again", post(job::again))
        .route("/history/{id}/delete", post(job::delete))
        .route("/jobs", get(jobs::show))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/thumbnail", post(thumbnail::fetch))
        .route("/docs", get(docs::list))
        .route("/docs/{name}", get(docs::show))
        .route("/favicon.ico", get(assets::icon))
        .route("/assets/{version}/{name}", get(assets::read))
}
