//! The ControlNet of Stable Diffusion 3.5 Large, as diffusers' `SD3ControlNetModel` computes it without text: half as many
//! blocks as the model, each of the image stream alone, behind each a matrix whose result the model adds.

use candle_core::Tensor;

use super::blocks::attended;
use super::condition::Condition;
use super::transformer::{Sd35Config, Sd35Inputs};
use crate::adapters::{AdapterFiles, Blame};
use crate::error::{Error, Result};
use crate::families::streams::{BARE, Heads, Stream};
use crate::nn::Linear;
use crate::stages::pack;
use crate::weights::{Config, Loose, Named, Precision, Weights};

/// Sizes of a ControlNet.
#[derive(Clone, Debug)]
pub struct ControlNetConfig {
    /// Blocks.
    pub blocks: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Channels of the latents.
    pub channels: usize,
    /// Width of the pooled text.
    pub pooled_width: usize,
}

impl ControlNetConfig {
    /// From shapes, and what `config.json` says beyond them; without it heads are as wide as the model's.
    fn read(config: Option<&Config>, files: &Loose, base: &Sd35Config) -> Result<Self> {
        let head_width = config.map_or(Ok(base.head_width), |c| c.size_or("attention_head_dim", base.head_width))?;
        let width = files.size("pos_embed_input.proj.weight", 0)?;
        let blocks = files.count(|i| format!("transformer_blocks.{i}.norm1.linear.weight"));
        let (blocks, heads) = match config {
            Some(config) => {
                refuse_others(config)?;
                (
                    config.size_or("num_layers", blocks)?,
                    config.size_or("num_attention_heads", width / head_width.max(1))?,
                )
            }
            None => (blocks, width / head_width.max(1)),
        };
        if blocks == 0 || heads * head_width != width {
            let reason = format!("{blocks} blocks of {heads} heads of {head_width} do not fit a width of {width}");
            return Err(Error::Damaged { path: files.listing(), reason });
        }
        Ok(Self {
            blocks,
            heads,
            head_width,
            channels: files.size("pos_embed_input.proj.weight", 1)?,
            pooled_width: files.size("time_text_embed.text_embedder.linear_1.weight", 1)?,
        })
    }

    fn width(&self) -> usize {
        self.heads * self.head_width
    }
}

/// Configurations of ControlNets of another make.
fn refuse_others(config: &Config) -> Result<()> {
    for (key, usual) in [("patch_size", 2), ("extra_conditioning_channels", 0)] {
        let value = config.size_or(key, usual)?;
        if value != usual {
            return Err(config.unsupported(key, value, &usual.to_string()));
        }
    }
    let key = "force_zeros_for_pooled_projection";
    if config.flag_or(key, false)? {
        return Err(config.unsupported(key, true, "false, as in the ControlNets of Stable Diffusion 3.5 Large"));
    }
    Ok(())
}

/// Files that hold a whole model and no ControlNet: blocks that change the text, and what makes latents of tokens.
fn refuse_models(files: &Loose, blame: &Blame<'_>) -> Result<()> {
    let any = |parts: [&str; 2]| files.names().any(|name| parts.iter().any(|part| name.contains(part)));
    if any(["joint_blocks.", "norm_out.linear."]) && !any(["controlnet_blocks.", "control_"]) {
        let is = "it is a model itself (a transformer that draws), and no ControlNet";
        return Err(blame
            .problem(format!("{is}; its file belongs into the folder of a checkpoint. What fits is {}", blame.what)));
    }
    Ok(())
}

/// A ControlNet.
pub struct Sd35ControlNet {
    condition: Condition,
    picture_in: Linear,
    blocks: Vec<Stream>,
    outputs: Vec<Linear>,
}

impl Sd35ControlNet {
    /// Loads the network under diffusers' names.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &ControlNetConfig, w: &Weights) -> Result<Self> {
        let width = config.width();
        let heads = Heads { count: config.heads, width: config.head_width };
        let (blocks, outputs) = (w.pp("transformer_blocks"), w.pp("controlnet_blocks"));
        Ok(Self {
            condition: Condition::load(&w.pp("time_text_embed"), config.pooled_width, width)?,
            picture_in: Linear::load_patches(&w.pp("pos_embed_input").pp("proj"), config.channels, 2, width)?,
            blocks: (0..config.blocks).map(|i| Stream::load(heads, &blocks.pp(i), &BARE)).collect::<Result<_>>()?,
            outputs: (0..config.blocks).map(|i| Linear::load(&outputs.pp(i), width, width)).collect::<Result<_>>()?,
        })
    }

    /// Loads the network from files of either layout.
    pub(super) fn open(
        files: &AdapterFiles,
        base: &Sd35Config,
        precision: &Precision,
        blame: &Blame<'_>,
    ) -> Result<Self> {
        let tensors = Loose::open(&files.weights)?;
        refuse_models(&tensors, blame)?;
        let config = files.config()?;
        let text = config.as_ref().and_then(|config| config.get("joint_attention_dim"));
        if text.is_some() || tensors.has("context_embedder.weight") {
            return Err(blame.problem(
                "it is a ControlNet that reads the text, as those of Stable Diffusion 3 Medium do; those of Stable Diffusion \
                 3.5 Large, which do not, work here",
            ));
        }
        let tensors = tensors.named(Self::name)?;
        let config = ControlNetConfig::read(config.as_ref(), &tensors, base)?;
        for (size, got, wanted) in [
            ("tokens", config.width(), base.width()),
            ("pooled texts", config.pooled_width, base.pooled_width),
            ("latents", config.channels, base.in_channels),
        ] {
            if got != wanted {
                return Err(blame.problem(format!(
                    "it is made for another model: its {size} are {got} wide, those of this one {wanted}"
                )));
            }
        }
        if config.blocks > base.blocks {
            return Err(blame.problem(format!(
                "it is made for another model: it has {} blocks, more than this one, which has {}",
                config.blocks, base.blocks
            )));
        }
        let weights = tensors.weights(precision);
        let network = Self::load(&config, &weights)?;
        // says which of the publisher's three it is, which changes nothing
        weights.finish(|name| name == "control_type")?;
        Ok(network)
    }

    /// The name that diffusers gives to a tensor of the publisher's files.
    pub fn name(name: &str) -> Named {
        let Some((block, rest)) = name.strip_prefix("transformer_blocks.").and_then(|rest| rest.split_once('.')) else {
            return Named::As(name.to_owned());
        };
        let place = |inner: &str| format!("transformer_blocks.{block}.{inner}");
        let Some((module, kind)) = rest.rsplit_once('.') else { return Named::As(name.to_owned()) };
        let inner = match module {
            "attn.qkv" => {
                return Named::Rows(["q", "k", "v"].map(|which| place(&format!("attn.to_{which}.{kind}"))).into());
            }
            "attn.proj" => "attn.to_out.0",
            "mlp.fc1" => "ff.net.0.proj",
            "mlp.fc2" => "ff.net.2",
            "adaLN_modulation.1" => "norm1.linear",
            other => other,
        };
        Named::As(place(&format!("{inner}.{kind}")))
    }

    /// Latents of the control picture as tokens, `[batch, cells, width]`.
    pub(super) fn embed(&self, latents: &Tensor) -> Result<Tensor> {
        self.picture_in.forward(&pack(latents)?)
    }

    /// What the model adds after its blocks, each `[batch, cells, width]`: `image` is the model's own embedding of the noisy
    /// latents, `picture` that of the control picture, for the whole batch or for each of it.
    pub(super) fn forward(
        &self,
        image: &Tensor,
        picture: &Tensor,
        inputs: &Sd35Inputs<'_>,
        scale: f64,
    ) -> Result<Vec<Tensor>> {
        let condition = self.condition.forward(inputs.timestep, inputs.pooled)?;
        let mut x = image.broadcast_add(picture)?;
        let mut residuals = Vec::with_capacity(self.blocks.len());
        for (block, output) in self.blocks.iter().zip(&self.outputs) {
            inputs.observer.ask().check()?;
            let modulation = block.modulation(&condition)?;
            let qkv = block.attention.project(&modulation.before_attention(&x)?)?;
            x = block.finish(&x, &attended(&qkv)?, &modulation)?;
            residuals.push((output.forward(&x)? * scale)?);
        }
        Ok(residuals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_publisher_become_those_of_diffusers() {
        let one = |name: &str| match Sd35ControlNet::name(name) {
            Named::As(name) => name,
            Named::Rows(names) => names.join(" "),
        };
        for (original, diffusers) in [
            ("transformer_blocks.12.attn.proj.bias", "transformer_blocks.12.attn.to_out.0.bias"),
            ("transformer_blocks.0.mlp.fc1.weight", "transformer_blocks.0.ff.net.0.proj.weight"),
            ("transformer_blocks.0.mlp.fc2.weight", "transformer_blocks.0.ff.net.2.weight"),
            ("transformer_blocks.0.adaLN_modulation.1.bias", "transformer_blocks.0.norm1.linear.bias"),
            (
                "transformer_blocks.0.attn.qkv.weight",
                "transformer_blocks.0.attn.to_q.weight transformer_blocks.0.attn.to_k.weight \
                 transformer_blocks.0.attn.to_v.weight",
            ),
        ] {
            assert_eq!(one(original), diffusers);
        }
        for same in ["control_type", "transformer_blocks.x", "transformer_blocks.0.attn.to_q.bias", ""] {
            assert_eq!(one(same), same);
        }
    }
}
