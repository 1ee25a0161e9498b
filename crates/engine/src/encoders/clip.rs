//! The CLIP text model (Radford et al., 2021), as transformers' `CLIPTextModel` and `CLIPTextModelWithProjection` compute
//! it.

use candle_core::{DType, Tensor};

use super::block::{Block, BlockSizes, EncoderActivation};
use crate::error::Result;
use crate::nn::{Embedding, LayerNorm, Linear};
use crate::tokenize::ClipTokenizer;
use crate::weights::{Config, Weights};

/// Sizes of a CLIP text model.
#[derive(Clone, Debug)]
pub struct ClipConfig {
    /// Token ids.
    pub vocab: usize,
    /// Width of a token.
    pub hidden: usize,
    /// Width of the feed-forward.
    pub intermediate: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Longest text.
    pub positions: usize,
    /// Added to variances.
    pub eps: f64,
    /// The feed-forward's activation.
    pub activation: EncoderActivation,
    /// Width of the projected state, where a checkpoint has a projection.
    pub projection: usize,
}

impl ClipConfig {
    /// From `text_encoder/config.json`; absent keys mean CLIP-L.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together, or an activation that neither CLIP-L nor CLIP-G has.
    pub fn read(config: &Config) -> Result<Self> {
        let activation = match config.text_or("hidden_act", "quick_gelu") {
            "quick_gelu" => EncoderActivation::QuickGelu,
            "gelu" => EncoderActivation::Gelu,
            other => return Err(config.unsupported("hidden_act", other, "quick_gelu or gelu")),
        };
        let this = Self {
            vocab: config.size_or("vocab_size", 49408)?,
            hidden: config.size_or("hidden_size", 768)?,
            intermediate: config.size_or("intermediate_size", 3072)?,
            layers: config.size_or("num_hidden_layers", 12)?,
            heads: config.size_or("num_attention_heads", 12)?,
            positions: config.size_or("max_position_embeddings", 77)?,
            eps: config.number_or("layer_norm_eps", 1e-5)?,
            activation,
            projection: config.size_or("projection_dim", 768)?,
        };
        if this.heads == 0 || !this.hidden.is_multiple_of(this.heads) {
            return Err(config.unsupported(
                "num_attention_heads",
                this.heads,
                &format!("a divisor of {}", this.hidden),
            ));
        }
        if this.positions < ClipTokenizer::LENGTH {
            let wanted = format!("at least {}", ClipTokenizer::LENGTH);
            return Err(config.unsupported("max_position_embeddings", this.positions, &wanted));
        }
        Ok(this)
    }
}

/// A CLIP text model.
pub struct ClipText {
    tokens: Embedding,
    positions: Tensor, // [positions, hidden]
    blocks: Vec<Block>,
    final_norm: LayerNorm,
    /// Of the pooled state, without bias.
    projection: Option<Linear>,
}

/// What a CLIP text model says about a text.
pub struct ClipOutput {
    /// `[1, tokens, hidden]`, after the final norm.
    pub last_hidden_state: Tensor,
    /// `[1, tokens, hidden]`: what the last but one block made, without the final norm.
    pub penultimate: Tensor,
    /// The state at the end token, `[1, hidden]`; projected, `[1, projection]`, where the model projects.
    pub pooled: Tensor,
}

impl ClipText {
    /// Loads a model with a projection, which files keep beside the rest.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_projected(config: &ClipConfig, w: &Weights) -> Result<Self> {
        let projection = Linear::load_no_bias(&w.pp("text_projection"), config.hidden, config.projection)?;
        Ok(Self { projection: Some(projection), ..Self::load(config, w)? })
    }

    /// Loads the model. Files carry the prefix `text_model.`; those written by transformers 5 may lack it.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &ClipConfig, w: &Weights) -> Result<Self> {
        let w = &if w.has("embeddings.token_embedding.weight") { w.clone() } else { w.pp("text_model") };
        let embeddings = w.pp("embeddings");
        let layers = w.pp("encoder").pp("layers");
        let sizes = BlockSizes {
            hidden: config.hidden,
            wide: config.intermediate,
            heads: config.heads,
            eps: config.eps,
            activation: config.activation,
        };
        Ok(Self {
            tokens: Embedding::load(&embeddings.pp("token_embedding"), config.vocab, config.hidden)?,
            positions: embeddings.pp("position_embedding").get((config.positions, config.hidden), "weight")?,
            blocks: (0..config.layers).map(|i| Block::load(&sizes, &layers.pp(i))).collect::<Result<_>>()?,
            final_norm: LayerNorm::load(&w.pp("final_layer_norm"), config.hidden, config.eps)?,
            projection: None,
        })
    }

    /// Names that older files carry beside the weights.
    pub fn ignores(name: &str) -> bool {
        name.ends_with("position_ids") || name.ends_with("logit_scale")
    }

    /// Encodes one text of padded token ids. Attention is causal and sees the padding, as in training.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device out of memory.
    pub fn forward(&self, ids: &[u32]) -> Result<ClipOutput> {
        let positions = self.positions.narrow(0, 0, ids.len())?;
        let mut x = (self.tokens.forward(ids)? + positions)?.unsqueeze(0)?;
        let mask = causal_mask(ids.len(), x.device())?;
        let mut penultimate = x.clone();
        for block in &self.blocks {
            penultimate = x;
            x = block.forward(&penultimate, Some(&mask))?;
        }
        let last_hidden_state = self.final_norm.forward(&x)?;
        let end = last_hidden_state.narrow(1, end_position(ids), 1)?.squeeze(1)?;
        let pooled = match &self.projection {
            Some(projection) => projection.forward(&end)?,
            None => end,
        };
        Ok(ClipOutput { last_hidden_state, penultimate, pooled })
    }
}

/// The first position of the largest id, which is the end token: the configurations' `eos_token_id` 2 is a historic
/// mistake that transformers works around in the same way.
fn end_position(ids: &[u32]) -> usize {
    let largest = ids.iter().max();
    ids.iter().position(|id| Some(id) == largest).unwrap_or(0)
}

fn causal_mask(tokens: usize, device: &candle_core::Device) -> Result<Tensor> {
    let values: Vec<f32> = (0..tokens)
        .flat_map(|query| (0..tokens).map(move |key| if key > query { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Ok(Tensor::from_vec(values, (1, 1, tokens, tokens), device)?.to_dtype(DType::F32)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_first_largest_id() {
        assert_eq!(end_position(&[5, 9, 3, 9, 9]), 1);
        assert_eq!(end_position(&[]), 0);
    }
}
