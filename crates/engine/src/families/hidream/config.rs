//! Sizes of a HiDream-I1 transformer.

use crate::error::Result;
use crate::families::streams::Heads;
use crate::weights::Config;

/// Widths of feed-forwards are multiples of this.
const WIDE: usize = 256;

/// Sizes of a HiDream-I1 transformer.
#[derive(Clone, Debug)]
pub struct HiDreamConfig {
    /// Channels of the latents.
    pub channels: usize,
    /// Blocks with weights of their own for image and text.
    pub joint_blocks: usize,
    /// Blocks with one set of weights.
    pub single_blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Width of T5's states.
    pub t5_width: usize,
    /// Width of Llama's states.
    pub llama_width: usize,
    /// Width of the pooled text.
    pub pooled_width: usize,
    /// Widths of the rotary axes: a text's, rows, columns.
    pub axes: [usize; 3],
    /// Experts of each block.
    pub experts: usize,
    /// Experts that a token sees.
    pub activated: usize,
    /// The layer of Llama whose states each block reads, joint blocks first.
    pub llama_layers: Vec<usize>,
    /// Image tokens that it was made for: more are not drawn, and where the latents are no square, fewer are padded.
    pub tokens: usize,
}

impl HiDreamConfig {
    /// From `transformer/config.json`; absent keys mean HiDream-I1.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together.
    pub fn read(config: &Config) -> Result<Self> {
        let joint_blocks = config.size_or("num_layers", 16)?;
        let single_blocks = config.size_or("num_single_layers", 32)?;
        let [t5_width, llama_width] = list(config, "caption_channels", [4096, 4096])?;
        let [rows, columns] = list(config, "max_resolution", [128, 128])?;
        let every_layer: Vec<usize> = (0..32).chain(std::iter::repeat_n(31, 16)).collect();
        let this = Self {
            channels: config.size_or("in_channels", 16)?,
            joint_blocks,
            single_blocks,
            heads: config.size_or("num_attention_heads", 20)?,
            head_width: config.size_or("attention_head_dim", 128)?,
            t5_width,
            llama_width,
            pooled_width: config.size_or("text_emb_dim", 2048)?,
            axes: list(config, "axes_dims_rope", [64, 32, 32])?,
            experts: config.size_or("num_routed_experts", 4)?,
            activated: config.size_or("num_activated_experts", 2)?,
            llama_layers: config.sizes_or("llama_layers", &every_layer)?,
            tokens: (rows / 2) * (columns / 2),
        };
        this.check(config)?;
        Ok(this)
    }

    fn check(&self, config: &Config) -> Result<()> {
        for (key, default, expected) in [("patch_size", 2, 2), ("out_channels", self.channels, self.channels)] {
            let value = config.size_or(key, default)?;
            if value != expected {
                return Err(config.unsupported(key, value, &expected.to_string()));
            }
        }
        for (key, value) in [
            ("num_layers", self.joint_blocks),
            ("num_attention_heads", self.heads),
            ("in_channels", self.channels),
            ("max_resolution", self.tokens),
        ] {
            if value == 0 {
                return Err(config.unsupported(key, 0, "at least 1"));
            }
        }
        let blocks = self.joint_blocks + self.single_blocks;
        if self.llama_layers.len() != blocks {
            let wanted = format!("{blocks} layers, one for each block");
            return Err(config.unsupported("llama_layers", format!("{} layers", self.llama_layers.len()), &wanted));
        }
        if self.axes.iter().sum::<usize>() != self.head_width || self.axes.iter().any(|axis| axis % 2 != 0) {
            let wanted = format!("even numbers that are {} together, the width of a head", self.head_width);
            return Err(config.unsupported("axes_dims_rope", format!("{:?}", self.axes), &wanted));
        }
        if self.activated == 0 || self.activated > self.experts {
            let wanted = format!("1 to {}, the number of experts", self.experts);
            return Err(config.unsupported("num_activated_experts", self.activated, &wanted));
        }
        Ok(())
    }

    /// Width of a token inside.
    pub fn width(&self) -> usize {
        self.heads().total()
    }

    pub(super) fn heads(&self) -> Heads {
        Heads { count: self.heads, width: self.head_width }
    }

    /// Width of a routed expert, and of the text's feed-forward.
    pub(super) fn wide(&self) -> usize {
        swiglu(4 * self.width())
    }

    /// Width of the expert that all tokens share.
    pub(super) fn wide_shared(&self) -> usize {
        swiglu(2 * self.width())
    }
}

/// Two thirds, rounded up to a multiple of [`WIDE`].
fn swiglu(wide: usize) -> usize {
    (2 * wide / 3).next_multiple_of(WIDE)
}

fn list<const N: usize>(config: &Config, key: &str, usual: [usize; N]) -> Result<[usize; N]> {
    let found = config.sizes_or(key, &usual)?;
    let said = format!("{found:?}");
    found.try_into().map_err(|_| config.unsupported(key, said, &format!("{N} numbers")))
}
