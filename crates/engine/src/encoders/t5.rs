//! The T5 v1.1 encoder (Raffel et al., 2020; Shazeer, 2020) and its sibling UMT5 (Chung et al., 2023), as transformers'
//! `T5EncoderModel` and `UMT5EncoderModel` compute them.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;
use crate::nn::{Activation, Embedding, Linear, RmsNorm, attention, join_heads, split_heads};
use crate::weights::{Config, Weights};

/// Sizes of a T5 encoder.
#[derive(Clone, Debug)]
pub struct T5Config {
    /// Token ids.
    pub vocab: usize,
    /// Width of a token.
    pub d_model: usize,
    /// Width of a head.
    pub d_kv: usize,
    /// Width of the feed-forward.
    pub d_ff: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Entries of the relative position table.
    pub buckets: usize,
    /// Distances from here on share a bucket.
    pub max_distance: usize,
    /// Added to mean squares.
    pub eps: f64,
    /// Whether every block has a table of distances of its own, as UMT5's have; T5's share the first one's.
    pub own_distances: bool,
}

impl T5Config {
    /// From `text_encoder_2/config.json`.
    ///
    /// # Errors
    /// Values that are no sizes, or a feed-forward other than the gated GELU of v1.1.
    pub fn read(config: &Config) -> Result<Self> {
        let feed_forward = config.text_or("feed_forward_proj", "gated-gelu");
        if feed_forward != "gated-gelu" {
            return Err(config.unsupported("feed_forward_proj", feed_forward, "gated-gelu"));
        }
        Ok(Self {
            vocab: config.size_or("vocab_size", 32128)?,
            d_model: config.size_or("d_model", 4096)?,
            d_kv: config.size_or("d_kv", 64)?,
            d_ff: config.size_or("d_ff", 10240)?,
            layers: config.size_or("num_layers", 24)?,
            heads: config.size_or("num_heads", 64)?,
            buckets: config.size_or("relative_attention_num_buckets", 32)?,
            max_distance: config.size_or("relative_attention_max_distance", 128)?,
            eps: config.number_or("layer_norm_epsilon", 1e-6)?,
            own_distances: config.text_or("model_type", "t5") == "umt5",
        })
    }
}

/// A T5 encoder.
pub struct T5Encoder {
    config: T5Config,
    tokens: Embedding,
    blocks: Vec<Block>,
    final_norm: RmsNorm,
}

impl T5Encoder {
    /// Loads the encoder.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &T5Config, w: &Weights) -> Result<Self> {
        Self::load_first(config, config.layers, w)
    }

    /// Loads the first `count` blocks and the last norm; of the other blocks names and shapes are checked, and nothing is
    /// kept.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load_first(config: &T5Config, count: usize, w: &Weights) -> Result<Self> {
        let encoder = w.pp("encoder");
        let blocks = encoder.pp("block");
        let block = |i: usize, w: &Weights| Block::load(config, &w.pp(i).pp("layer"), i == 0 || config.own_distances);
        (count..config.layers).try_for_each(|i| block(i, &blocks.check_only()).map(drop))?;
        Ok(Self {
            tokens: Embedding::load(&w.pp("shared"), config.vocab, config.d_model)?,
            blocks: (0..count).map(|i| block(i, &blocks)).collect::<Result<_>>()?,
            final_norm: RmsNorm::load(&encoder.pp("final_layer_norm"), config.d_model, config.eps)?,
            config: config.clone(),
        })
    }

    /// The embedding is often stored a second time under the encoder.
    pub fn ignores(name: &str) -> bool {
        name == "encoder.embed_tokens.weight"
    }

    /// Encodes one text of padded token ids to `[1, tokens, d_model]`; padding attends, as FLUX and SD3.5 were trained.
    ///
    /// # Errors
    /// An id outside the vocabulary, or a device out of memory.
    pub fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        self.forward_masked(ids, ids.len())
    }

    /// The same, where nothing looks at what comes after the first `real` tokens, of which there is at least one.
    ///
    /// # Errors
    /// As [`T5Encoder::forward`].
    pub fn forward_masked(&self, ids: &[u32], real: usize) -> Result<Tensor> {
        let mut x = self.tokens.forward(ids)?.unsqueeze(0)?;
        let mask = (real < ids.len()).then(|| padding_mask(ids.len(), real, x.device())).transpose()?;
        let mut bias = None;
        for block in &self.blocks {
            if let Some(table) = &block.distances {
                let near = self.position_bias(table, ids.len())?;
                bias = Some(mask.as_ref().map_or(Ok(near.clone()), |mask| near.broadcast_add(mask))?);
            }
            x = block.forward(&x, bias.as_ref(), self.config.heads)?;
        }
        self.final_norm.forward(&x)
    }

    /// `[1, heads, tokens, tokens]`: what the distance between query and key adds to their score.
    fn position_bias(&self, table: &Tensor, tokens: usize) -> Result<Tensor> {
        let buckets: Vec<u32> = (0..tokens as i64)
            .flat_map(|query| (0..tokens as i64).map(move |key| key - query))
            .map(|distance| bucket(distance, self.config.buckets, self.config.max_distance))
            .collect();
        let rows = table.index_select(&Tensor::from_vec(buckets, tokens * tokens, table.device())?, 0)?;
        let bias = rows.reshape((tokens, tokens, self.config.heads))?.permute((2, 0, 1))?.unsqueeze(0)?;
        Ok(bias.contiguous()?.to_dtype(DType::F32)?)
    }
}

/// The bucket of a signed distance, key minus query: half of them for each direction, exact for short distances,
/// logarithmic up to `max_distance`. The logarithm is taken in float32, as the reference does.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> u32 {
    let half = buckets / 2;
    let exact = half / 2;
    let ahead = if distance > 0 { half } else { 0 };
    let far = distance.unsigned_abs() as usize;
    if far < exact {
        return (ahead + far) as u32;
    }
    let scale = (max_distance as f32 / exact as f32).ln();
    let steps = (far as f32 / exact as f32).ln() / scale * (half - exact) as f32;
    (ahead + (exact + steps as usize).min(half - 1)) as u32
}

/// `[1, 1, 1, tokens]`: what forbids looking at padding.
fn padding_mask(tokens: usize, real: usize, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = (0..tokens).map(|key| if key < real { 0.0 } else { f32::NEG_INFINITY }).collect();
    Ok(Tensor::from_vec(values, (1, 1, 1, tokens), device)?)
}

struct Block {
    /// What distances add to scores here and in the blocks after this one that have no table: `[buckets, heads]`.
    distances: Option<Tensor>,
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    feed_forward_norm: RmsNorm,
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
}

impl Block {
    fn load(config: &T5Config, w: &Weights, has_distances: bool) -> Result<Self> {
        let (attend, feed) = (w.pp(0), w.pp(1));
        let (projections, dense) = (attend.pp("SelfAttention"), feed.pp("DenseReluDense"));
        let (model, inner, wide) = (config.d_model, config.heads * config.d_kv, config.d_ff);
        let table = || projections.pp("relative_attention_bias").get((config.buckets, config.heads), "weight");
        Ok(Self {
            distances: has_distances.then(table).transpose()?,
            attention_norm: RmsNorm::load(&attend.pp("layer_norm"), model, config.eps)?,
            q: Linear::load_no_bias(&projections.pp("q"), model, inner)?,
            k: Linear::load_no_bias(&projections.pp("k"), model, inner)?,
            v: Linear::load_no_bias(&projections.pp("v"), model, inner)?,
            o: Linear::load_no_bias(&projections.pp("o"), inner, model)?,
            feed_forward_norm: RmsNorm::load(&feed.pp("layer_norm"), model, config.eps)?,
            wi_0: Linear::load_no_bias(&dense.pp("wi_0"), model, wide)?,
            wi_1: Linear::load_no_bias(&dense.pp("wi_1"), model, wide)?,
            wo: Linear::load_no_bias(&dense.pp("wo"), wide, model)?,
        })
    }

    fn forward(&self, x: &Tensor, bias: Option<&Tensor>, heads: usize) -> Result<Tensor> {
        let n = self.attention_norm.forward(x)?;
        let split = |linear: &Linear| split_heads(&linear.forward(&n)?, heads);
        // T5 was trained without the usual 1 / √width
        let attended = attention(&split(&self.q)?, &split(&self.k)?, &split(&self.v)?, 1.0, bias)?;
        let x = self.o.added(&join_heads(&attended)?, x)?;
        let n = self.feed_forward_norm.forward(&x)?;
        let gated = self.wi_1.times(&n, &self.wi_0.activated(&n, Activation::GeluTanh)?)?;
        // files that are float16 elsewhere keep this matrix in float32
        Ok((&x + self.wo.forward(&gated)?.to_dtype(x.dtype())?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_with_the_logarithm_of_the_distance() {
        let of = |d| bucket(d, 32, 128);
        assert_eq!([of(0), of(-1), of(-7), of(1), of(7)], [0, 1, 7, 17, 23]);
        assert_eq!([of(-8), of(-16), of(-32), of(-64), of(-128)], [8, 10, 12, 14, 15]);
        assert_eq!([of(8), of(500)], [24, 31]);
    }
}
