//! Tiny checkpoints with the layout, names and arithmetic of the published ones, a few megabytes each.
//!
//! Every weight depends only on a tag, its name and its shape, through torch's generator; so the folder that
//! [`Tiny::write`] makes holds, bit for bit, the weights from which diffusers made the golden tensors in
//! `crates/engine/tests/golden`.
//!
//! ```no_run
//! use scumble_testkit::tiny::{self, Variant};
//!
//! let folder = tiny::of(Variant::Schnell).tempdir();
//! let sharded = tiny::of(Variant::Dev).dtype(scumble_engine::DType::BF16).shards(3).tempdir();
//! ```

pub mod adapters;
pub mod checkers;
mod configs;
pub mod files;
mod hidream;
pub mod loras;
mod omnigen2;
mod tokenizers;
mod torch;
mod trained;
mod weights;

use std::path::Path;

use scumble_engine::{Acceleration, Call, DType, Pixels, Solver};
use tempfile::TempDir;

use weights::Component;

/// Which of the published models to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// FLUX.1 schnell: few steps, no guidance input, even schedule.
    Schnell,
    /// FLUX.1 dev: guidance input, schedule shifted by the picture's size.
    Dev,
    /// FLUX.1 Fill: a part of a picture drawn anew.
    Fill,
    /// Stable Diffusion 3.5 Large: three text encoders, guidance by two passes.
    Sd35,
    /// AuraFlow: UMT5, guidance by two passes.
    AuraFlow,
    /// F-Lite: the middle of T5, a transformer that looks at its text, guidance by two passes.
    FLite,
    /// HiDream-I1 Full: four text encoders, experts, guidance by two passes, UniPC.
    HiDreamFull,
    /// HiDream-I1 Dev: fewer steps, without guidance, with fresh noise at each.
    HiDreamDev,
    /// HiDream-I1 Fast: the fewest steps.
    HiDreamFast,
    /// OmniGen2: Qwen2.5-VL as a reader, given pictures, guidance by two passes or three.
    OmniGen2,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Schnell,
        Self::Dev,
        Self::Fill,
        Self::Sd35,
        Self::AuraFlow,
        Self::FLite,
        Self::HiDreamFull,
        Self::HiDreamDev,
        Self::HiDreamFast,
        Self::OmniGen2,
    ];

    /// Name of the variant, also of its folder of golden tensors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schnell => "flux-schnell",
            Self::Dev => "flux-dev",
            Self::Fill => "flux-fill",
            Self::Sd35 => "sd35",
            Self::AuraFlow => "auraflow",
            Self::FLite => "f-lite",
            Self::HiDreamFull => "hidream-full",
            Self::HiDreamDev => "hidream-dev",
            Self::HiDreamFast => "hidream-fast",
            Self::OmniGen2 => "omnigen2",
        }
    }

    /// The folder of its transformer.
    pub fn network(self) -> &'static str {
        match self {
            Self::FLite => "dit_model",
            _ => "transformer",
        }
    }

    /// The call that the golden tensors were recorded from.
    pub fn call(self) -> Call {
        let (width, height) = if self.is_hidream() { (128, 128) } else { (96, 64) };
        Call {
            prompt: match self {
                Self::FLite | Self::HiDreamFull | Self::HiDreamDev | Self::HiDreamFast | Self::OmniGen2 => {
                    trained::PROMPT.into()
                }
                _ => "A cat holding a sign that says hello world, 3 red stars".into(),
            },
            negative: match self {
                Self::Schnell | Self::Dev | Self::Fill | Self::FLite | Self::HiDreamDev | Self::HiDreamFast => {
                    String::new()
                }
                Self::Sd35 | Self::AuraFlow | Self::HiDreamFull | Self::OmniGen2 => trained::NEGATIVE.into(),
            },
            width,
            height,
            to_trained_area: false,
            steps: 4,
            guidance: match self {
                Self::Schnell | Self::HiDreamDev | Self::HiDreamFast => 0.0,
                Self::HiDreamFull | Self::OmniGen2 => 5.0,
                Self::Dev | Self::AuraFlow => 3.5,
                Self::Sd35 => 4.5,
                Self::Fill => 30.0,
                Self::FLite => 6.0,
            },
            true_cfg: 1.0,
            seed: 1234,
            images: 1,
            picture: (self == Self::Fill).then(|| picture(96, 64)),
            mask: (self == Self::Fill).then(|| mask(96, 64)),
            pictures: Vec::new(),
            picture_guidance: 2.0,
            guided_steps: [0.0, 1.0],
            solver: Solver::Euler,
            strength: 1.0,
            max_sequence_length: (!matches!(self, Self::FLite | Self::OmniGen2) && !self.is_hidream()).then_some(48),
            loras: Vec::new(),
            controlnet: None,
            ip_adapter: None,
            acceleration: Acceleration::None,
            apg: None,
        }
    }

    fn is_hidream(self) -> bool {
        matches!(self, Self::HiDreamFull | Self::HiDreamDev | Self::HiDreamFast)
    }
}

/// The picture that golden tensors were recorded with: two ramps and a wave.
pub fn picture(width: usize, height: usize) -> Pixels {
    let byte = |value: f64| value.round_ties_even().clamp(0.0, 255.0) as u8;
    let pixel = |i: usize| {
        let (x, y) = ((i % width) as f64, (i / width) as f64);
        let wave = 127.5 + 127.5 * (x / 5.0 + y / 7.0).sin();
        [byte(255.0 * x / (width - 1) as f64), byte(255.0 * y / (height - 1) as f64), byte(wave)]
    };
    Pixels { width, height, rgb: (0..width * height).flat_map(pixel).collect() }
}

/// The mask that golden tensors were recorded with: a white block on black.
pub fn mask(width: usize, height: usize) -> Pixels {
    let (rows, columns) = (height / 4..3 * height / 4, width / 3..2 * width / 3 + 5);
    let pixel = |i: usize| [if rows.contains(&(i / width)) && columns.contains(&(i % width)) { 255 } else { 0 }; 3];
    Pixels { width, height, rgb: (0..width * height).flat_map(pixel).collect() }
}

/// A tiny checkpoint: float32, one file per component unless told otherwise.
pub fn of(variant: Variant) -> Tiny {
    Tiny { variant, dtype: DType::F32, shards: 1, side: None, is_shallow: false }
}

/// What to write; made by [`of`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Tiny {
    variant: Variant,
    dtype: DType,
    shards: usize,
    side: Option<usize>,
    is_shallow: bool,
}

impl Tiny {
    /// Stores the weights in another type: float32, bfloat16 or float16.
    pub fn dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// Spreads the weights of every component over this many files with an index.
    pub fn shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// Gives SD3.5 and AuraFlow a table of positions of so many rows and columns, each of 16 pixels, and HiDream-I1 room for as
    /// many tokens: enough for pictures of
    /// the sizes that people ask for.
    pub fn side(self, cells: usize) -> Self {
        Self { side: Some(cells), ..self }
    }

    /// Gives the transformer one block of each kind.
    pub fn shallow(self) -> Self {
        Self { is_shallow: true, ..self }
    }

    /// Writes the diffusers folder; files of the same names are replaced.
    ///
    /// # Panics
    /// Where the folder cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) {
        let folder = folder.as_ref();
        let files = configs::of(self.variant).into_iter().chain(tokenizers::of(self.variant));
        let transformer = self.transformer();
        let network = format!("{}/config.json", self.variant.network());
        for (name, contents) in files {
            let contents = if name == network { configs::pretty(&transformer) } else { contents };
            write(&folder.join(name), contents.as_bytes());
        }
        for component in Component::with(self.variant, &transformer) {
            component.write(folder, self.dtype, self.shards);
        }
    }

    fn transformer(&self) -> serde_json::Value {
        let mut config = configs::transformer(self.variant);
        if let Some((entry, value)) = self.side.and_then(|side| configs::side(self.variant, side)) {
            config[entry] = value;
        }
        if self.is_shallow {
            configs::depths(self.variant).iter().for_each(|entry| config[*entry] = 1.into());
            if self.variant.is_hidream() {
                config["llama_layers"] = hidream::layers_of_two_blocks();
            }
        }
        config
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
type File = (String, String);

fn write(path: &Path, contents: &[u8]) {
    let parent = path.parent().expect("files of a checkpoint are in folders");
    let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(path, contents));
    written.unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}
