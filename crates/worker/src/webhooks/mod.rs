//! Webhooks: telling callers that their requests have ended, until they have heard it.
//!
//! What is to be delivered stands in the store, written with the outcome; so nothing here has to survive a restart.
//! [`Deliverer::run`] claims what is due, a few attempts run at once ([`lanes`]), each of them posts
//! ([`attempt`]) what [`payload`] has built, and [`schedule`] says what follows.

mod attempt;
mod deliverer;
mod keys;
mod lanes;
mod payload;
mod schedule;

pub(crate) use deliverer::Deliverer;
