//! The sparse transformer of HiDream-I1 (Cai et al., 2025), as diffusers' `HiDreamImageTransformer2DModel` names and
//! computes it.

use candle_core::{D, DType, Tensor};

use super::attention::Places;
use super::blocks::{JointBlock, SingleBlock};
use super::config::HiDreamConfig;
use crate::error::Result;
use crate::families::Probe;
use crate::families::streams::EPS;
use crate::nn::{EmbedMlp, Linear, Rotary, modulated_norm, silu, sinusoid};
use crate::observer::Observer;
use crate::stages::{Bytes, Canvas, patch, unpatch};
use crate::weights::Weights;

/// Width of the sinusoid that the timestep becomes.
const SINUSOID: usize = 256;
/// Base of the rotary frequencies.
const THETA: f64 = 10000.0;

/// A HiDream-I1 transformer.
pub struct HiDreamTransformer {
    config: HiDreamConfig,
    image_in: Linear,
    timestep: EmbedMlp,
    pooled: EmbedMlp,
    /// One for each block.
    llama_in: Vec<Linear>,
    t5_in: Linear,
    joint: Vec<JointBlock>,
    single: Vec<SingleBlock>,
    norm_out: Linear,
    out: Linear,
}

/// A text in the transformer's own width: depends on nothing but the prompt.
#[derive(Clone)]
pub(super) struct Captions {
    /// T5's states, then Llama's last ones: `[batch, 2 · tokens, width]`.
    lasting: Tensor,
    /// What each block reads besides, `[batch, tokens, width]`, joint blocks first.
    passing: Vec<Tensor>,
}

impl Bytes for Captions {
    fn bytes(&self) -> usize {
        self.lasting.bytes() + self.passing.iter().map(Bytes::bytes).sum::<usize>()
    }
}

impl Captions {
    /// One batch of several, each so many times; the batches of those are one text each.
    pub(super) fn joined(texts: &[Self], images: usize) -> Result<Self> {
        let each = |part: &dyn Fn(&Self) -> &Tensor| -> Result<Tensor> {
            let repeated = texts.iter().map(|text| Ok(part(text).repeat((images, 1, 1))?));
            Ok(Tensor::cat(&repeated.collect::<Result<Vec<_>>>()?, 0)?)
        };
        let blocks = texts.first().map_or(0, |text| text.passing.len());
        let passing = (0..blocks).map(|i| each(&|text| &text.passing[i])).collect::<Result<_>>()?;
        Ok(Self { lasting: each(&|text| &text.lasting)?, passing })
    }

    /// How many tokens a block reads.
    pub(super) fn tokens(&self) -> Result<usize> {
        Ok(self.lasting.dim(1)? + self.passing.first().map_or(Ok(0), |states| states.dim(1))?)
    }
}

/// What the transformer sees at one step.
pub(super) struct HiDreamInputs<'a> {
    /// Latents `[batch, channels, h, w]`.
    pub(super) image: &'a Tensor,
    pub(super) captions: &'a Captions,
    /// Pooled text `[batch, pooled_width]`.
    pub(super) pooled: &'a Tensor,
    /// 1000 times the noise level, `[batch]`, float32.
    pub(super) timestep: &'a Tensor,
    /// Asked before every block.
    pub(super) observer: &'a dyn Observer,
}

impl HiDreamTransformer {
    /// Loads the transformer.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &HiDreamConfig, w: &Weights) -> Result<Self> {
        let (width, patch) = (config.width(), 4 * config.channels);
        let blocks = config.joint_blocks + config.single_blocks;
        let caption =
            |i: usize, input: usize| Linear::load_no_bias(&w.pp("caption_projection").pp(i).pp("linear"), input, width);
        let block = |kind: &str, i: usize| w.pp(kind).pp(i).pp("block");
        let last = w.pp("final_layer");
        let pooled = w.pp("p_embedder").pp("pooled_embedder");
        Ok(Self {
            image_in: Linear::load(&w.pp("x_embedder").pp("proj"), patch, width)?,
            timestep: EmbedMlp::load(&w.pp("t_embedder").pp("timestep_embedder"), SINUSOID, width)?,
            pooled: EmbedMlp::load(&pooled, config.pooled_width, width)?,
            llama_in: (0..blocks).map(|i| caption(i, config.llama_width)).collect::<Result<_>>()?,
            t5_in: caption(blocks, config.t5_width)?,
            joint: (0..config.joint_blocks)
                .map(|i| JointBlock::load(config, &block("double_stream_blocks", i)))
                .collect::<Result<_>>()?,
            single: (0..config.single_blocks)
                .map(|i| SingleBlock::load(config, &block("single_stream_blocks", i)))
                .collect::<Result<_>>()?,
            norm_out: Linear::load(&last.pp("adaLN_modulation").pp(1), width, 2 * width)?,
            out: Linear::load(&last.pp("linear"), width, patch)?,
            config: config.clone(),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &HiDreamConfig {
        &self.config
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.image_in.dtype()
    }

    /// What the blocks read of a text: T5's states `[batch, tokens, t5_width]`, and those of Llama's layers, each
    /// `[batch, tokens, llama_width]`, of which there are as many as the configuration names.
    pub(super) fn captions(&self, t5: &Tensor, llama: &[Tensor]) -> Result<Captions> {
        let read = self.config.llama_layers.iter().zip(&self.llama_in);
        let passing = read.map(|(layer, linear)| linear.forward(&llama[*layer])).collect::<Result<Vec<_>>>()?;
        let mut lasting = vec![self.t5_in.forward(t5)?];
        lasting.extend(passing.last().cloned());
        Ok(Captions { lasting: Tensor::cat(&lasting, 1)?, passing })
    }

    /// Where the tokens of this canvas are, with `text` tokens behind them.
    pub(super) fn places(&self, canvas: Canvas, text: usize) -> Result<Places> {
        let (rows, columns) = canvas.cells();
        let image = rows * columns;
        let padding = if rows == columns { 0 } else { self.config.tokens.saturating_sub(image) };
        let mut positions: Vec<Vec<u32>> =
            (0..image).map(|i| vec![0, (i / columns) as u32, (i % columns) as u32]).collect();
        positions.resize(image + usize::from(padding > 0) + text, vec![0; 3]);
        let rotary = Rotary::new(&positions, &self.config.axes, THETA, self.norm_out.device())?;
        Ok(Places { rotary, image, padding })
    }

    /// data − noise for every latent, `[batch, channels, h, w]`. The places are those of the canvas and of the captions.
    pub(super) fn forward(
        &self,
        inputs: &HiDreamInputs<'_>,
        places: &Places,
        canvas: Canvas,
        probe: Option<Probe<'_>>,
    ) -> Result<Tensor> {
        let condition = self.condition(inputs)?;
        let Captions { lasting, passing } = inputs.captions;
        let report = |name: String, tokens: &Tensor| match probe {
            Some(probe) => probe(&name, &spread(tokens, places)?),
            None => Ok(()),
        };
        let mut image = self.image_in.forward(&padded(&patch(inputs.image)?, places)?)?;
        report("x_embedder.out".to_owned(), &image)?;
        let mut text = lasting.clone();
        for (i, (block, states)) in self.joint.iter().zip(passing).enumerate() {
            inputs.observer.ask().check()?;
            let all = Tensor::cat(&[&text, states], 1)?;
            let (drawn, read) = block.forward(&image, &all, &condition, places)?;
            report(format!("double_stream_blocks.{i}.out.0"), &drawn)?;
            probe.map_or(Ok(()), |probe| probe(&format!("double_stream_blocks.{i}.out.1"), &read))?;
            (image, text) = (drawn, read.narrow(1, 0, text.dim(1)?)?);
        }
        let mut tokens = Tensor::cat(&[&image, &text], 1)?;
        let kept = tokens.dim(1)?;
        for (i, (block, states)) in self.single.iter().zip(&passing[self.joint.len()..]).enumerate() {
            inputs.observer.ask().check()?;
            let all = block.forward(&Tensor::cat(&[&tokens, states], 1)?, &condition, places)?;
            report(format!("single_stream_blocks.{i}.out"), &all)?;
            tokens = all.narrow(1, 0, kept)?;
        }
        let image = tokens.narrow(1, 0, places.image)?;
        let parts = self.norm_out.forward(&condition)?.chunk(2, D::Minus1)?;
        unpatch(&self.out.forward(&modulated_norm(&image, &parts[0], &parts[1], EPS)?)?, canvas)
    }

    /// Noise level and pooled text, `[batch, width]`, behind the SiLU that every modulation begins with.
    fn condition(&self, inputs: &HiDreamInputs<'_>) -> Result<Tensor> {
        let timestep = sinusoid(inputs.timestep, SINUSOID, 1.0)?.to_dtype(self.timestep.dtype())?;
        silu(&(self.timestep.forward(&timestep)? + self.pooled.forward(inputs.pooled)?)?)
    }
}

/// Patches with one of zeros behind them, where padding needs one.
fn padded(patches: &Tensor, places: &Places) -> Result<Tensor> {
    Ok(patches.pad_with_zeros(1, 0, places.rows() - places.image)?)
}

/// As the reference has them: as many padding tokens as the one stands for.
fn spread(tokens: &Tensor, places: &Places) -> Result<Tensor> {
    if places.padding == 0 {
        return Ok(tokens.clone());
    }
    let behind = places.rows();
    let padding = tokens.narrow(1, places.image, 1)?.repeat((1, places.padding, 1))?;
    let rest = tokens.narrow(1, behind, tokens.dim(1)? - behind)?;
    Ok(Tensor::cat(&[&tokens.narrow(1, 0, places.image)?, &padding, &rest], 1)?)
}
