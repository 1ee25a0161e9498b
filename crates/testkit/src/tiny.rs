//! Tiny checkpoints with the layout, names and arithmetic of the published ones, a few megabytes each.
//!
//! Every weight depends only on a tag, its name and its shape, through torch's generator; so the folder that
//! [`Flux::write`] makes holds, bit for bit, the weights from which diffusers made the golden tensors in
//! `crates/engine/tests/golden`.
//!
//! ```no_run
//! use scumble_testkit::tiny::{self, Variant};
//!
//! let folder = tiny::flux(Variant::Schnell).tempdir();
//! let sharded = tiny::flux(Variant::Dev).dtype(scumble_engine::DType::BF16).shards(3).tempdir();
//! ```

mod configs;
mod tokenizers;
mod weights;

use std::path::Path;

use scumble_engine::{DType, Params};
use tempfile::TempDir;

use weights::Component;

/// Which of the two text-to-image FLUX.1 models to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Few steps, no guidance input, even schedule.
    Schnell,
    /// Guidance input, schedule shifted by the picture's size.
    Dev,
}

impl Variant {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Schnell, Self::Dev];

    /// Name of the variant, also of its folder of golden tensors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schnell => "flux-schnell",
            Self::Dev => "flux-dev",
        }
    }

    /// The call that the golden tensors were recorded from.
    pub fn params(self) -> Params {
        Params {
            prompt: "A cat holding a sign that says hello world, 3 red stars".into(),
            width: 96,
            height: 64,
            steps: 4,
            guidance: if self == Self::Schnell { 0.0 } else { 3.5 },
            true_cfg: 1.0,
            seed: 1234,
            images: 1,
            max_sequence_length: Some(48),
        }
    }
}

/// A tiny FLUX.1: float32, one file per component unless told otherwise.
pub fn flux(variant: Variant) -> Flux {
    Flux { variant, dtype: DType::F32, shards: 1 }
}

/// What to write; made by [`flux`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Flux {
    variant: Variant,
    dtype: DType,
    shards: usize,
}

impl Flux {
    /// Stores the weights in another type: float32, bfloat16 or float16.
    pub fn dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// Spreads the weights of every component over this many files with an index.
    pub fn shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// Writes the diffusers folder; files of the same names are replaced.
    ///
    /// # Panics
    /// Where the folder cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) {
        let folder = folder.as_ref();
        let files = configs::flux(self.variant).into_iter().chain(tokenizers::clip()).chain(tokenizers::t5());
        for (name, contents) in files {
            write(&folder.join(name), contents.as_bytes());
        }
        for component in Component::flux(self.variant) {
            component.write(folder, self.dtype, self.shards);
        }
    }

    /// Writes it to a folder of its own, which goes when the value is dropped.
    ///
    /// # Panics
    /// Where there is no room for temporary files.
    pub fn tempdir(&self) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        self.write(folder.path());
        folder
    }
}

/// A text file of a checkpoint: its path in the folder and its contents.
type File = (&'static str, String);

fn write(path: &Path, contents: &[u8]) {
    let parent = path.parent().expect("files of a checkpoint are in folders");
    let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(path, contents));
    written.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}
