//! One file per command.

pub(crate) mod doctor;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod run;
pub(crate) mod serve;
mod time;
