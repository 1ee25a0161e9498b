//! The HTTP face of Scumble. It never runs a model: every call becomes a job in `scumble-store`.
//!
//! [`router`] is the whole of it. A request passes, from the outside in:
//!
//! 1. `addressing`: host, path prefix or proxy target name one of fal's services; the path is rewritten to
//!    `/run/…`, `/queue/…`, `/cdn/…`.
//! 2. request id, CORS, panic guard (`middleware`).
//! 3. the routes, which authenticate, validate, make one call to the store, and answer.

mod addressing;
mod answer;
mod auth;
mod config;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod key;
mod middleware;
mod platform;
mod routes;
mod state;
mod submit;
mod wait;

pub use addressing::{Caller, Service};
pub use config::Config;
pub use key::{KeySecret, new_key};
pub use routes::router;
pub use state::AppState;
