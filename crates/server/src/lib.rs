//! The HTTP face of Scumble. It never runs a model: every call becomes a job in `scumble-store`.
//!
//! [`listen::serve`] takes connections, plain and TLS, and hands their requests to [`router`]. A request passes, from the outside in:
//!
//! 1. `addressing`: host, path prefix or proxy target name one of fal's services; the path is rewritten to
//!    `/run/…`, `/queue/…`, `/cdn/…`, without what a proxy in front has put before it.
//! 2. request id, CORS, panic guard (`middleware`).
//! 3. on a server without keys: the names, pages and proxies that it is used by (`keyless`).
//! 4. the routes, which authenticate, validate, make one call to the store, and answer.

mod addressing;
mod answer;
mod auth;
mod census;
mod config;
mod forwarded;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod given;
mod held;
mod hmac;
mod hosts;
mod key;
mod keyless;
mod last_use;
pub mod listen;
mod messages;
mod middleware;
mod origins;
mod overdue;
mod pages;
mod platform;
mod prefix;
mod room;
mod routes;
mod sent;
mod session;
mod socket;
mod sse;
mod state;
mod stop;
mod submit;
pub mod tls;
mod token;
mod unpack;
mod uploads;
mod wait;
mod watch;
mod webhook_keys;

pub use addressing::{Caller, Scheme};
pub use config::Config;
pub use hosts::{Hosts, Service};
pub use key::{KeySecret, new_key};
pub use origins::Origins;
pub use overdue::end_overdue;
pub use prefix::Prefix;
pub use room::little_room;
pub use routes::{metrics_router, paths, probe_router, router};
pub use scumble_fetch::Budget;
pub use state::AppState;
pub use webhook_keys::{Rotation, WebhookKeysError, rotate_webhook_keys};
