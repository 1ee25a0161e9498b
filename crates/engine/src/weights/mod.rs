//! Weights as they are found, and as they are handed out.
//!
//! [`Source`] and [`Checkpoint`] find the files of a pipeline, [`Config`] reads their JSON, [`Weights`] hands out tensors
//! by name and shape and knows at the end which ones nobody asked for. Weights can be held after a model was built over
//! them, and handed out again with an [`Overlay`] of changes; the tensors themselves are never touched.
//! Files of adapters lie beside checkpoints, in safetensors or as torch saves them, under names of their own.

mod archive;
pub(crate) mod bytes;
mod config;
mod delta;
mod findings;
pub(crate) mod header;
mod held;
mod loose;
mod overlay;
mod pickle;
mod reloadable;
pub(crate) mod shards;
mod source;
mod torch;

pub use config::Config;
pub use delta::Delta;
pub use held::{Precision, Weights};
pub(crate) use loose::Loose;
pub use loose::{Named, renamed};
pub use overlay::{Change, Magnitude, Overlay};
pub use reloadable::Evict;
pub(crate) use reloadable::Reloadable;
pub use source::{Checkpoint, EmbeddedFile, Source};
#[cfg(feature = "fuzz")]
pub use torch::count_tensors;
