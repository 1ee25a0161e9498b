//! The networks that predict where noise should go, one folder per family.

pub mod flux;
