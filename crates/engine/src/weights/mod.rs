//! Weights as they are found, and as they are handed out.
//!
//! [`Source`] and [`Checkpoint`] find the files of a pipeline, [`Config`] reads their JSON, [`Weights`] hands out tensors
//! by name and shape and knows at the end which ones nobody asked for.

mod config;
mod held;
mod shards;
mod source;

pub use config::Config;
pub use held::{Precision, Weights};
pub use source::{Checkpoint, EmbeddedFile, Source};
