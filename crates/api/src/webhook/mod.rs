//! Webhooks: what is posted when a request has ended, and how receivers know that it comes from here.
//!
//! Nothing here opens a connection or looks at a clock: the worker posts, the server publishes the keys, and both read
//! this.

mod body;
mod keys;
mod signature;

pub use body::{WebhookBody, WebhookStatus};
pub use keys::{Jwk, Jwks, KEY_PURPOSE, KeyRing, UnusableKey};
pub use signature::{NO_USER, Notice};
