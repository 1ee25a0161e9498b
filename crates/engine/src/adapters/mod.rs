//! What people attach to a model: LoRAs, ControlNets, IP-Adapters.
//!
//! A call names files; which of them a family can follow is in its row of [`FAMILIES`](crate::families::FAMILIES).

mod blame;
mod kept;
pub(crate) mod lora;

use std::path::PathBuf;

pub(crate) use blame::{Blame, suspected};
pub(crate) use kept::Kept;

use crate::pixels::Pixels;

/// The files of one adapter on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterFiles {
    /// As the caller named it; messages say this and no path.
    pub name: String,
    /// Its weights: one file, or all shards of one set.
    pub weights: Vec<PathBuf>,
    /// The `config.json` beside them, where there is one.
    pub config: Option<PathBuf>,
    /// The `preprocessor_config.json` of an image encoder, where there is one.
    pub preprocessor: Option<PathBuf>,
}

/// A LoRA, or a relative of it: a change of the model's own matrices.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// Where it is.
    pub files: AdapterFiles,
    /// How much of the change is applied: 1 as it was trained, 0 nothing.
    pub scale: f64,
}

/// A second network that is shown a picture and guides the model along it.
///
/// The picture is brought to the size that is drawn (Lanczos), its bytes to −1 … 1, whatever the network is for: as
/// diffusers does. Its latents are the mean of what the autoencoder sees; diffusers draws them around that mean from a
/// global random state, which no call could repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlNet {
    /// Where it is.
    pub files: AdapterFiles,
    /// The ready control map: edges, depth, a blurred picture.
    pub picture: Pixels,
    /// How strongly it guides: 1 as it was trained.
    pub scale: f64,
    /// After which share of the steps it begins, 0 … 1.
    pub start: f64,
    /// After which share of the steps it ends, 0 … 1.
    pub end: f64,
}

/// Attention to a picture beside the attention to the text.
#[derive(Clone, Debug, PartialEq)]
pub struct IpAdapter {
    /// Where it is.
    pub files: AdapterFiles,
    /// The image encoder that it was trained with.
    pub encoder: AdapterFiles,
    /// The picture to follow.
    pub picture: Pixels,
    /// Where in the result it acts: white, or everywhere without a mask. It is brought to the size that is drawn (Lanczos),
    /// and the brightness averaged over each 16×16 cell, which is a token of the model, then compared with the threshold.
    pub mask: Option<Pixels>,
    /// The brightness, 0 … 1, from which a cell of the mask counts as white.
    pub mask_threshold: f64,
    /// How strongly the picture is followed.
    pub scale: f64,
}
