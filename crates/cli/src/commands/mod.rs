//! One file per command.

pub(crate) mod keys;
pub(crate) mod run;
pub(crate) mod serve;
