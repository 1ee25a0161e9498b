//! Where weights come from.

mod starter;

pub(crate) use starter::starter;
