//! Every maker against a far end that behaves, misbehaves and dies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::needless_pass_by_value, reason = "values that are written in place read better without a reference")]

mod bfl;
mod desk;
mod fal;
mod far;
mod google;
mod ideogram;
mod recraft;
mod settings;
mod tape;
