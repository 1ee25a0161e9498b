//! Vision transformers that put what they see into a token of their own: CLIP's vision tower (Radford et al., 2021) and ViT
//! (Dosovitskiy et al., 2020), as transformers' `CLIPVisionModel` and `ViTModel` compute them.

use candle_core::Tensor;

use super::block::{Block, BlockSizes, EncoderActivation};
use super::siglip::patches;
use crate::error::Result;
use crate::nn::{LayerNorm, Linear};
use crate::observer::Observer;
use crate::weights::{Config, Named, Weights};

/// Whose tower it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Patches without a bias, a norm before the first layer.
    Clip,
    /// Patches with one, no such norm.
    Vit,
}

/// Sizes of such a tower.
#[derive(Clone, Debug)]
pub struct ClassTowerConfig {
    /// Whose it is.
    pub make: Make,
    /// Width of a token.
    pub hidden: usize,
    /// Width of the feed-forward.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Side of a picture.
    pub image: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Added to variances.
    pub eps: f64,
    /// The feed-forward's activation.
    pub activation: EncoderActivation,
}

impl ClassTowerConfig {
    /// From the `config.json` of a tower; absent keys mean what transformers takes for them.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together, or a network that neither CLIP nor ViT is.
    pub fn read(config: &Config, make: Make) -> Result<Self> {
        let (patch, eps, usual) = match make {
            Make::Clip => (32, 1e-5, "quick_gelu"),
            Make::Vit => (16, 1e-12, "gelu"),
        };
        let activation = match config.text_or("hidden_act", usual) {
            "quick_gelu" => EncoderActivation::QuickGelu,
            "gelu" => EncoderActivation::Gelu,
            other => return Err(config.unsupported("hidden_act", other, "quick_gelu or gelu")),
        };
        if !config.flag_or("qkv_bias", true)? {
            return Err(config.unsupported("qkv_bias", false, "true"));
        }
        let this = Self {
            make,
            hidden: config.size_or("hidden_size", 768)?,
            intermediate: config.size_or("intermediate_size", 3072)?,
            layers: config.size_or("num_hidden_layers", 12)?,
            heads: config.size_or("num_attention_heads", 12)?,
            image: config.size_or("image_size", 224)?,
            patch: config.size_or("patch_size", patch)?,
            eps: config.number_or("layer_norm_eps", eps)?,
            activation,
        };
        config.fits(&[("num_channels", config.size_or("num_channels", 3)?, 3, "red, green, blue")])?;
        if this.heads == 0 || !this.hidden.is_multiple_of(this.heads) {
            let wanted = format!("a divisor of {}", this.hidden);
            return Err(config.unsupported("num_attention_heads", this.heads, &wanted));
        }
        if this.patch == 0 || this.patch > this.image {
            return Err(config.unsupported("patch_size", this.patch, &format!("1 to {}", this.image)));
        }
        if this.layers > MOST_LAYERS {
            return Err(config.unsupported("num_hidden_layers", this.layers, &format!("at most {MOST_LAYERS}")));
        }
        Ok(this)
    }

    /// Patches on a side.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }
}

/// Above every published tower's.
const MOST_LAYERS: usize = 256;

/// A tower whose first token sums up the picture.
pub struct ClassTower {
    config: ClassTowerConfig,
    patches: Linear,
    class: Tensor,     // [1, 1, hidden]
    positions: Tensor, // [1, 1 + grid², hidden]
    before: Option<LayerNorm>,
    blocks: Vec<Block>,
    after: LayerNorm,
}

impl ClassTower {
    /// Loads the tower, whose tensors have the names of [`ClassTower::name`].
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &ClassTowerConfig, w: &Weights) -> Result<Self> {
        let ClassTowerConfig { make, hidden, intermediate, heads, eps, activation, .. } = *config;
        let (embeddings, layers) = (w.pp("embeddings"), w.pp("encoder").pp("layers"));
        let sizes = BlockSizes { hidden, wide: intermediate, heads, eps, activation };
        let tokens = 1 + config.grid() * config.grid();
        let (patch, table) = (embeddings.pp("patch_embedding"), embeddings.pp("position_embedding"));
        let (patches, class, positions, before) = match make {
            Make::Clip => (
                Linear::load_patches_no_bias(&patch, 3, config.patch, hidden)?,
                embeddings.get(hidden, "class_embedding")?,
                table.get((tokens, hidden), "weight")?,
                // as the published files spell it
                Some(LayerNorm::load(&w.pp("pre_layrnorm"), hidden, eps)?),
            ),
            Make::Vit => (
                Linear::load_patches(&patch, 3, config.patch, hidden)?,
                embeddings.get((1, 1, hidden), "class_embedding")?,
                table.get((1, tokens, hidden), "weight")?,
                None,
            ),
        };
        Ok(Self {
            config: config.clone(),
            patches,
            class: class.reshape((1, 1, hidden))?,
            positions: positions.reshape((1, tokens, hidden))?,
            before,
            blocks: (0..config.layers).map(|i| Block::load(&sizes, &layers.pp(i))).collect::<Result<_>>()?,
            after: LayerNorm::load(&w.pp("post_layernorm"), hidden, eps)?,
        })
    }

    /// What a tensor of a file is called here: CLIP's own names, and what ViT calls other things by.
    pub fn name(make: Make, name: &str) -> Named {
        Named::As(match make {
            Make::Clip => {
                let mut name = name;
                // once around the tower, and once around what it is a part of
                while let Some(inner) = name.strip_prefix("vision_model.") {
                    name = inner;
                }
                name.to_owned()
            }
            Make::Vit => vit_name(name.strip_prefix("vit.").unwrap_or(name)),
        })
    }

    /// The state of the first token after the last norm, of a picture `[1, 3, image, image]`: `[1, hidden]`.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled) where the observer says so between layers; a device out of memory.
    pub fn forward(&self, picture: &Tensor, observer: &dyn Observer) -> Result<Tensor> {
        let rows = patches(picture, self.config.grid(), self.config.patch)?;
        let tokens = Tensor::cat(&[&self.class, &self.patches.forward(&rows)?], 1)?;
        let mut x = tokens.broadcast_add(&self.positions)?;
        if let Some(before) = &self.before {
            x = before.forward(&x)?;
        }
        for block in &self.blocks {
            observer.ask().check()?;
            x = block.forward(&x, None)?;
        }
        self.after.forward(&x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)
    }

    /// Sizes.
    pub fn config(&self) -> &ClassTowerConfig {
        &self.config
    }
}

/// A name of ViT's in CLIP's words.
fn vit_name(name: &str) -> String {
    const WHOLE: [(&str, &str); 4] = [
        ("embeddings.cls_token", "embeddings.class_embedding"),
        ("embeddings.position_embeddings", "embeddings.position_embedding.weight"),
        ("embeddings.patch_embeddings.projection.", "embeddings.patch_embedding."),
        ("layernorm.", "post_layernorm."),
    ];
    const IN_LAYER: [(&str, &str); 8] = [
        ("attention.attention.query.", "self_attn.q_proj."),
        ("attention.attention.key.", "self_attn.k_proj."),
        ("attention.attention.value.", "self_attn.v_proj."),
        ("attention.output.dense.", "self_attn.out_proj."),
        ("intermediate.dense.", "mlp.fc1."),
        ("output.dense.", "mlp.fc2."),
        ("layernorm_before.", "layer_norm1."),
        ("layernorm_after.", "layer_norm2."),
    ];
    let replaced = |name: &str, words: &[(&str, &str)]| {
        let word = words.iter().find_map(|(old, new)| Some(format!("{new}{}", name.strip_prefix(old)?)));
        word.unwrap_or_else(|| name.to_owned())
    };
    match name.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.')) {
        Some((layer, rest)) => format!("encoder.layers.{layer}.{}", replaced(rest, &IN_LAYER)),
        None => replaced(name, &WHOLE),
    }
}
