//! From the states of an image encoder to a few tokens, anew at every timestep: diffusers' `IPAdapterTimeImageProjection`.

use candle_core::{D, Tensor};

use super::blocks::attended;
use crate::error::{Error, Result};
use crate::nn::{Activation, EmbedMlp, LayerNorm, Linear, silu, sinusoid, split_heads};
use crate::observer::Observer;
use crate::weights::{Loose, Weights};

/// Width of a head, in every published adapter.
const HEAD: usize = 64;
/// Sizes far above those of every published adapter (64 queries, 4 layers, 1280 and 5120 wide): one pass takes as many steps
/// as these say.
const MOST_QUERIES: usize = 1024;
const MOST_LAYERS: usize = 32;
const WIDEST: usize = 8192;

/// Added to variances.
const EPS: f64 = 1e-5;

/// Sizes of a resampler.
#[derive(Clone, Debug)]
pub struct ResamplerConfig {
    /// Width of the image encoder's states.
    pub encoder: usize,
    /// Width inside.
    pub hidden: usize,
    /// Tokens that it makes.
    pub queries: usize,
    /// Layers.
    pub layers: usize,
    /// Width of all heads together, each 64 wide.
    pub inner: usize,
    /// Width of the feed-forward.
    pub wide: usize,
    /// Width of the sinusoid that the timestep becomes.
    pub sinusoid: usize,
}

impl ResamplerConfig {
    /// From shapes.
    pub(super) fn read(files: &Loose) -> Result<Self> {
        let first = |name: &str, what: &str, most: usize| {
            files.size_within(&format!("image_proj.layers.0.{name}.weight"), 0, what, most)
        };
        let proj_in = |dimension, what: &str| files.size_within("image_proj.proj_in.weight", dimension, what, WIDEST);
        let layers = files.count(|i| format!("image_proj.layers.{i}.ln0.weight"));
        let this = Self {
            encoder: proj_in(1, "width of the encoder's states")?,
            hidden: proj_in(0, "width")?,
            queries: files.size_within("image_proj.latents", 1, "queries", MOST_QUERIES)?,
            layers: files.within("layers", layers, MOST_LAYERS)?,
            inner: first("attn.to_q", "width of all heads", WIDEST)?,
            wide: first("ff.net.0.proj", "width inside", 4 * WIDEST)?,
            sinusoid: files.size_within("image_proj.time_embedding.linear_1.weight", 1, "width of times", WIDEST)?,
        };
        if !this.inner.is_multiple_of(HEAD) || !this.sinusoid.is_multiple_of(2) {
            let reason = format!("heads of {HEAD} do not fit its attention, {} wide", this.inner);
            return Err(Error::Damaged { path: files.listing(), reason });
        }
        Ok(this)
    }
}

pub(super) struct Resampler {
    config: ResamplerConfig,
    timestep: EmbedMlp,
    states_in: Linear,
    queries: Tensor, // [1, queries, hidden]
    layers: Vec<Layer>,
    out: Linear,
    norm_out: LayerNorm,
}

struct Layer {
    norm_states: LayerNorm,
    norm_queries: LayerNorm,
    modulation: Linear,
    q: Linear,
    kv: Linear,
    out: Linear,
    norm_wide: LayerNorm,
    wide: Linear,
    narrow: Linear,
}

impl Resampler {
    pub(super) fn load(config: &ResamplerConfig, width: usize, w: &Weights) -> Result<Self> {
        let hidden = config.hidden;
        Ok(Self {
            timestep: EmbedMlp::load(&w.pp("time_embedding"), config.sinusoid, hidden)?,
            states_in: Linear::load(&w.pp("proj_in"), config.encoder, hidden)?,
            queries: w.get((1, config.queries, hidden), "latents")?,
            layers: (0..config.layers).map(|i| Layer::load(config, &w.pp("layers").pp(i))).collect::<Result<_>>()?,
            out: Linear::load(&w.pp("proj_out"), hidden, width)?,
            norm_out: LayerNorm::load(&w.pp("norm_out"), width, EPS)?,
            config: config.clone(),
        })
    }

    pub(super) fn encoder_width(&self) -> usize {
        self.config.encoder
    }

    /// Tokens `[batch, queries, width]`, and the timestep that they were made at, embedded: `[batch, hidden]`.
    pub(super) fn forward(
        &self,
        states: &Tensor,
        timestep: &Tensor,
        observer: &dyn Observer,
    ) -> Result<(Tensor, Tensor)> {
        let timestep = sinusoid(timestep, self.config.sinusoid, 1.0)?.to_dtype(self.timestep.dtype())?;
        let timestep = self.timestep.forward(&timestep)?;
        let states = self.states_in.forward(states)?.broadcast_add(&timestep.unsqueeze(1)?)?;
        let condition = silu(&timestep)?;
        let mut x = self.queries.repeat((states.dim(0)?, 1, 1))?;
        for layer in &self.layers {
            observer.ask().check()?;
            x = layer.forward(&x, &states, &condition)?;
        }
        Ok((self.norm_out.forward(&self.out.forward(&x)?)?, timestep))
    }
}

impl Layer {
    fn load(config: &ResamplerConfig, w: &Weights) -> Result<Self> {
        let ResamplerConfig { hidden, inner, wide, .. } = *config;
        let norm = |name: &str| LayerNorm::load(&w.pp(name), hidden, EPS);
        let (attention, net) = (w.pp("attn"), w.pp("ff").pp("net"));
        Ok(Self {
            norm_states: norm("ln0")?,
            norm_queries: norm("ln1")?,
            modulation: Linear::load(&w.pp("adaln_proj"), hidden, 4 * hidden)?,
            q: Linear::load_no_bias(&attention.pp("to_q"), hidden, inner)?,
            kv: Linear::load_no_bias(&attention.pp("to_kv"), hidden, 2 * inner)?,
            out: Linear::load_no_bias(&attention.pp("to_out").pp(0), inner, hidden)?,
            norm_wide: norm("adaln_norm")?,
            wide: Linear::load_no_bias(&net.pp(0).pp("proj"), hidden, wide)?,
            narrow: Linear::load_no_bias(&net.pp(2), wide, hidden)?,
        })
    }

    /// Queries that have looked at the states, and at each other.
    fn forward(&self, queries: &Tensor, states: &Tensor, condition: &Tensor) -> Result<Tensor> {
        // shift, scale for the attention, then for the feed-forward
        let parts = self.modulation.forward(condition)?.unsqueeze(1)?.chunk(4, D::Minus1)?;
        let modulated = |x: &Tensor, shift: usize| -> Result<Tensor> {
            Ok(x.broadcast_mul(&(&parts[shift + 1] + 1.0)?)?.broadcast_add(&parts[shift])?)
        };
        let n = modulated(&self.norm_queries.forward(queries)?, 0)?;
        let seen = Tensor::cat(&[&self.norm_states.forward(states)?, &n], 1)?;
        let kv = self.kv.forward(&seen)?.chunk(2, D::Minus1)?;
        let q = self.q.forward(&n)?;
        let heads = |x: &Tensor| split_heads(x, q.dim(2)? / HEAD);
        let queries = (queries + self.out.forward(&attended(&(heads(&q)?, heads(&kv[0])?, heads(&kv[1])?))?)?)?;
        let n = modulated(&self.norm_wide.forward(&queries)?, 2)?;
        self.narrow.added(&self.wide.activated(&n, Activation::Gelu)?, &queries)
    }
}
