//! The HTTP face of Scumble. It never runs a model: every call becomes a job in `scumble-store`.
//!
//! [`listen::serve`] takes connections, plain and TLS, and hands their requests to [`router`]. A request passes, from the outside in:
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
mod given;
mod hmac;
mod hosts;
mod key;
pub mod listen;
mod messages;
mod middleware;
mod overdue;
mod pages;
mod platform;
mod room;
mod routes;
mod session;
mod sse;
mod state;
mod stop;
mod submit;
pub mod tls;
mod token;
mod uploads;
mod wait;
mod watch;
mod webhook_keys;

pub use addressing::{Caller, Scheme};
pub use config::Config;
pub use hosts::{Hosts, Service};
pub use key::{KeySecret, new_key};
pub use overdue::end_overdue;
pub use routes::{probe_router, router};
pub use state::AppState;
pub use webhook_keys::{Rotation, WebhookKeysError, rotate_webhook_keys};
