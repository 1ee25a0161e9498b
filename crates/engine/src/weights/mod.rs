//! Weights as they are found, and as they are handed out.
//!
//! [`Source`] and [`Checkpoint`] find the files of a pipeline, [`Config`] reads their JSON, [`Weights`] hands out tensors
//! by name and shape and knows at the end which ones nobody asked for. Weights can be held after a model was built over
//! them, and handed out again with an [`Overlay`] of changes; the tensors themselves are never touched.
//! A component may also lie in one file with others ([`Source::Assembled`]), under its publisher's names and in fp8 or in the
//! blocks of GGUF: `Container` knows what is in a file, `Part` hands it out under the names that models ask for.
//! `gguf_writer` and `encode` are the way back, for those who make such files.
//! Files of adapters lie beside checkpoints, in safetensors or as torch saves them, under names of their own.

mod archive;
pub(crate) mod bytes;
mod config;
pub(crate) mod container;
mod delta;
mod encode;
mod encoding;
mod findings;
mod gguf;
mod gguf_writer;
pub(crate) mod header;
mod held;
mod loose;
mod matrix;
mod overlay;
mod part;
mod pickle;
mod reloadable;
mod scales;
pub(crate) mod shards;
mod source;
mod torch;

pub use config::Config;
pub use delta::Delta;
pub(crate) use encode::Written;
pub(crate) use encoding::Encoding;
#[cfg(feature = "fuzz")]
pub use gguf::count_gguf_tensors;
pub(crate) use gguf_writer::{Entry as GgufEntry, head as gguf_head, padding as gguf_padding};
pub use held::{Precision, Weights};
pub(crate) use loose::Loose;
pub use loose::{Named, renamed};
pub use matrix::Matrix;
pub use overlay::{Change, Magnitude, Overlay};
pub(crate) use part::{Order, Part, Piece};
pub use reloadable::Evict;
pub(crate) use reloadable::Reloadable;
pub use source::{Assembly, Checkpoint, EmbeddedFile, Source};
#[cfg(feature = "fuzz")]
pub use torch::count_tensors;
