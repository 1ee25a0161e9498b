//! The decoder of Llama 3.1 (Grattafiori et al., 2024) as a reader: what every layer makes of a text, as transformers'
//! `LlamaForCausalLM` computes it. That of Qwen2.5-VL (Bai et al., 2025) is the same but for biases, as far as it reads text.

mod config;

use candle_core::{DType, Device, Tensor};

pub use config::{LlamaConfig, RopeScaling};

use crate::error::Result;
use crate::nn::{Embedding, Linear, RmsNorm, Rotary, SwiGlu, attention, join_heads, split_heads};
use crate::weights::Weights;

/// A Llama decoder without its head.
pub struct Llama {
    config: LlamaConfig,
    tokens: Embedding,
    layers: Vec<Layer>,
    final_norm: RmsNorm,
}

impl Llama {
    /// Loads the decoder. Files carry the prefix `model.`; those of the model without its head lack it, and those of a model
    /// that sees have `model.language_model.` since transformers 4.52.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &LlamaConfig, w: &Weights) -> Result<Self> {
        let model = w.pp("model");
        let among = [w.clone(), model.pp("language_model")];
        let w = among.into_iter().find(|w| w.has("embed_tokens.weight")).unwrap_or(model);
        let layers = w.pp("layers");
        Ok(Self {
            tokens: Embedding::load(&w.pp("embed_tokens"), config.vocab, config.hidden)?,
            layers: (0..config.layers).map(|i| Layer::load(config, &layers.pp(i))).collect::<Result<_>>()?,
            final_norm: RmsNorm::load(&w.pp("norm"), config.hidden, config.eps)?,
            config: config.clone(),
        })
    }

    /// The head, which reading does not need, and tables that older files carry.
    pub fn ignores(name: &str) -> bool {
        name == "lm_head.weight" || name.ends_with("rotary_emb.inv_freq")
    }

    /// The same, and what sees in a model that reads and sees.
    pub fn ignores_sight(name: &str) -> bool {
        Self::ignores(name) || name.starts_with("visual.") || name.starts_with("model.visual.")
    }

    /// What every layer makes of one text, each `[1, tokens, hidden]`; the last one's behind the final norm. Nothing
    /// looks at what comes after the first `real` tokens, of which there is at least one.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device out of memory.
    pub fn states(&self, ids: &[u32], real: usize) -> Result<Vec<Tensor>> {
        let mut states = Vec::with_capacity(self.layers.len());
        let last = self.read(ids, real, |state| states.push(state.clone()))?;
        if let Some(place) = states.last_mut() {
            *place = self.final_norm.forward(&last)?;
        }
        Ok(states)
    }

    /// What the last layer makes of a text without padding, behind the final norm: `[1, tokens, hidden]`.
    ///
    /// # Errors
    /// As [`Llama::states`].
    pub fn last_state(&self, ids: &[u32]) -> Result<Tensor> {
        self.final_norm.forward(&self.read(ids, ids.len(), |_| {})?)
    }

    /// Layer after layer; each one's states are shown, the last one's given.
    fn read(&self, ids: &[u32], real: usize, mut shown: impl FnMut(&Tensor)) -> Result<Tensor> {
        let mut x = self.tokens.forward(ids)?.unsqueeze(0)?;
        let (mask, rotary) = (mask(ids.len(), real, x.device())?, self.rotary(ids.len(), x.device())?);
        for layer in &self.layers {
            x = layer.forward(&x, &mask, &rotary, &self.config)?;
            shown(&x);
        }
        Ok(x)
    }

    fn rotary(&self, tokens: usize, device: &Device) -> Result<Rotary> {
        let LlamaConfig { head_width, theta, scaling, .. } = &self.config;
        let frequency = |i: usize| {
            let plain = 1.0 / (*theta as f32).powf((2 * i) as f32 / *head_width as f32);
            scaling.as_ref().map_or(plain, |scaling| scaling.slowed(plain))
        };
        let frequencies: Vec<f32> = (0..head_width / 2).map(frequency).collect();
        Rotary::of_line(tokens, &frequencies, device)
    }
}

/// `[1, 1, tokens, tokens]`: nobody looks ahead, nor at padding.
fn mask(tokens: usize, real: usize, device: &Device) -> Result<Tensor> {
    let seen = |query: usize, key: usize| if key <= query && key < real { 0.0 } else { f32::NEG_INFINITY };
    let values: Vec<f32> = (0..tokens).flat_map(|query| (0..tokens).map(move |key| seen(query, key))).collect();
    Ok(Tensor::from_vec(values, (1, 1, tokens, tokens), device)?.to_dtype(DType::F32)?)
}

struct Layer {
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    feed_forward_norm: RmsNorm,
    feed: SwiGlu,
}

impl Layer {
    fn load(config: &LlamaConfig, w: &Weights) -> Result<Self> {
        let attend = w.pp("self_attn");
        let biased = if config.qkv_biases { Linear::load } else { Linear::load_no_bias };
        let (hidden, wide) = (config.hidden, config.intermediate);
        let (inner, narrow) = (config.heads * config.head_width, config.kv_heads * config.head_width);
        Ok(Self {
            attention_norm: RmsNorm::load(&w.pp("input_layernorm"), hidden, config.eps)?,
            q: biased(&attend.pp("q_proj"), hidden, inner)?,
            k: biased(&attend.pp("k_proj"), hidden, narrow)?,
            v: biased(&attend.pp("v_proj"), hidden, narrow)?,
            o: Linear::load_no_bias(&attend.pp("o_proj"), inner, hidden)?,
            feed_forward_norm: RmsNorm::load(&w.pp("post_attention_layernorm"), hidden, config.eps)?,
            feed: SwiGlu::load(&w.pp("mlp"), ["gate_proj", "up_proj", "down_proj"], hidden, wide)?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor, rotary: &Rotary, config: &LlamaConfig) -> Result<Tensor> {
        let n = self.attention_norm.forward(x)?;
        let q = rotary.apply_halves(&split_heads(&self.q.forward(&n)?, config.heads)?)?;
        let k = rotary.apply_halves(&split_heads(&self.k.forward(&n)?, config.kv_heads)?)?;
        let v = split_heads(&self.v.forward(&n)?, config.kv_heads)?;
        let scale = 1.0 / (config.head_width as f64).sqrt();
        let attended = attention(&q, &k, &v, scale, Some(mask))?;
        let x = self.o.added(&join_heads(&attended)?, x)?;
        let fed = self.feed.forward(&self.feed_forward_norm.forward(&x)?)?;
        Ok((x + fed)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_looks_ahead_or_at_padding() -> Result<()> {
        let mask = mask(3, 2, &Device::Cpu)?.reshape((3, 3))?.to_vec2::<f32>()?;
        let never = f32::NEG_INFINITY;
        assert_eq!(mask, [[0.0, never, never], [0.0, 0.0, never], [0.0, 0.0, never]]);
        Ok(())
    }
}
