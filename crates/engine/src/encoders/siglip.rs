//! The SigLIP vision tower (Zhai et al., 2023), as transformers' `SiglipVisionModel` computes it, up to the last but one
//! layer.

use candle_core::{DType, Tensor};

use super::block::{Block, BlockSizes, EncoderActivation};
use crate::error::{Error, Result};
use crate::nn::Linear;
use crate::observer::Observer;
use crate::weights::{Config, Loose, Named, Weights};

/// The tower that the adapters of Stable Diffusion 3.5 are trained with: its width, heads and pictures do not follow from
/// the shapes of its tensors.
const SO400M: (usize, usize, usize) = (1152, 16, 384);

/// Sizes far above those of every published tower (1536 wide, 40 layers, 32² patches of 16 pixels): one pass takes as many
/// steps as these say.
const WIDEST: usize = 4096;
const MOST_LAYERS: usize = 64;
const MOST_PATCHES: usize = 64 * 64;
const LARGEST_PATCH: usize = 64;
/// What is added to variances is at most this.
const LARGEST_EPS: f64 = 0.1;

/// Sizes of a SigLIP vision tower.
#[derive(Clone, Debug)]
pub struct SiglipConfig {
    /// Width of a token.
    pub hidden: usize,
    /// Width of the feed-forward.
    pub intermediate: usize,
    /// Layers; the last one is not computed.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Side of a picture.
    pub image: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Added to variances.
    pub eps: f64,
}

impl SiglipConfig {
    /// From `config.json`, of a vision tower or of a whole SigLIP, and from shapes where that says nothing.
    ///
    /// # Errors
    /// Files without a SigLIP vision tower, or values that do not fit together.
    pub(crate) fn read(config: Option<&Config>, files: &Loose) -> Result<Self> {
        let inner = config.map(|config| config.inner("vision_config")).transpose()?;
        let size = |key: &str, otherwise: usize| match &inner {
            Some(config) => config.size_or(key, otherwise),
            None => Ok(otherwise),
        };
        let hidden = files.size_within("embeddings.patch_embedding.bias", 0, "width", WIDEST)?;
        let patch = files.size_within("embeddings.patch_embedding.weight", 2, "pixels of a patch", LARGEST_PATCH)?;
        let patches = files.size_within("embeddings.position_embedding.weight", 0, "patches", MOST_PATCHES)?;
        let grid = patches.isqrt();
        let (so400m, heads, image) = SO400M;
        let usual = if hidden == so400m { heads } else { hidden / 64 };
        let side = if image / patch == grid { image } else { grid * patch };
        let layers = files.count(|i| format!("encoder.layers.{i}.layer_norm1.weight"));
        let this = Self {
            hidden,
            intermediate: files.size_within("encoder.layers.0.mlp.fc1.weight", 0, "width inside", 8 * WIDEST)?,
            layers: files.within("layers", size("num_hidden_layers", layers)?, MOST_LAYERS)?,
            heads: size("num_attention_heads", usual)?,
            image: size("image_size", side)?,
            patch,
            eps: inner.as_ref().map_or(Ok(1e-6), |config| config.number_or("layer_norm_eps", 1e-6))?,
        };
        if let Some(config) = inner.as_ref().filter(|_| !(this.eps > 0.0 && this.eps <= LARGEST_EPS)) {
            return Err(config.unsupported("layer_norm_eps", this.eps, &format!("above 0, at most {LARGEST_EPS}")));
        }
        if let Some(config) = &inner {
            let activation = config.text_or("hidden_act", "gelu_pytorch_tanh");
            if activation != "gelu_pytorch_tanh" {
                return Err(config.unsupported("hidden_act", activation, "gelu_pytorch_tanh"));
            }
            if this.image / patch != grid {
                let wanted = format!("{grid} patches of {patch} pixels on a side, for which it has positions");
                return Err(config.unsupported("image_size", this.image, &wanted));
            }
        }
        if this.heads == 0 || !hidden.is_multiple_of(this.heads) {
            let reason =
                format!("{} heads do not fit a width of {hidden}; its config.json should say how many do", this.heads);
            return Err(Error::Damaged { path: files.listing(), reason });
        }
        Ok(this)
    }

    /// Patches on a side.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }
}

/// A SigLIP vision tower without its last layer.
pub struct SiglipVision {
    config: SiglipConfig,
    patches: Linear,
    positions: Tensor, // [grid², hidden]
    blocks: Vec<Block>,
}

impl SiglipVision {
    /// Loads the tower.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &SiglipConfig, w: &Weights) -> Result<Self> {
        let SiglipConfig { hidden, intermediate, heads, eps, .. } = *config;
        let (embeddings, layers) = (w.pp("embeddings"), w.pp("encoder").pp("layers"));
        let sizes = BlockSizes { hidden, wide: intermediate, heads, eps, activation: EncoderActivation::GeluTanh };
        let grid = config.grid();
        Ok(Self {
            patches: Linear::load_patches(&embeddings.pp("patch_embedding"), 3, config.patch, hidden)?,
            positions: embeddings.pp("position_embedding").get((grid * grid, hidden), "weight")?,
            blocks: (1..config.layers).map(|i| Block::load(&sizes, &layers.pp(i - 1))).collect::<Result<_>>()?,
            config: config.clone(),
        })
    }

    /// Files put `vision_model.` in front of names, or nothing.
    pub fn name(name: &str) -> Named {
        Named::As(name.strip_prefix("vision_model.").unwrap_or(name).to_owned())
    }

    /// What else files hold: the last layer and what follows it, and a text tower.
    pub fn ignores(config: &SiglipConfig, name: &str) -> bool {
        let last = format!("encoder.layers.{}.", config.layers.max(1) - 1);
        let rest = ["text_model.", "head.", "post_layernorm.", "logit_", "embeddings.position_ids"];
        name.starts_with(&last) || rest.iter().any(|start| name.starts_with(start))
    }

    /// Sizes.
    pub fn config(&self) -> &SiglipConfig {
        &self.config
    }

    /// `hidden_states[-2]` of a picture `[1, 3, image, image]`: `[1, grid², hidden]`, without a norm.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where the observer says so between layers; a device out of memory.
    pub fn forward(&self, picture: &Tensor, observer: &dyn Observer) -> Result<Tensor> {
        let rows = patches(picture, self.config.grid(), self.config.patch)?;
        let mut x = self.patches.forward(&rows)?.broadcast_add(&self.positions.unsqueeze(0)?)?;
        for block in &self.blocks {
            observer.ask().check()?;
            x = block.forward(&x, None)?;
        }
        Ok(x)
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.patches.dtype()
    }
}

/// `[1, 3, height, width]` to `[1, grid², 3 · patch²]`, features ordered channel, row, column; what is left of a patch at the
/// right and below falls away.
pub(super) fn patches(picture: &Tensor, grid: usize, patch: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = picture.dims4()?;
    let side = grid * patch;
    if height < side || width < side {
        return Err(Error::Tensor(candle_core::Error::Msg(format!(
            "a picture of {width}×{height} has no {grid}² patches"
        ))));
    }
    let cells = picture.narrow(2, 0, side)?.narrow(3, 0, side)?;
    let cells = cells.reshape(&[batch, channels, grid, patch, grid, patch])?.permute(vec![0, 2, 4, 1, 3, 5])?;
    Ok(cells.reshape((batch, grid * grid, channels * patch * patch))?)
}
