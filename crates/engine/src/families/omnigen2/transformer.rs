//! The transformer of OmniGen2 (Wu et al., 2025), under the names of its published files.

use candle_core::{DType, Device, Tensor};

use super::blocks::{Block, TimedBlock};
use super::config::OmniGen2Config;
use crate::error::Result;
use crate::families::Probe;
use crate::families::streams::EPS;
use crate::nn::{EmbedMlp, Linear, RmsNorm, Rotary, modulated_norm, silu, sinusoid};
use crate::observer::Observer;
use crate::stages::{Canvas, patch, unpatch};
use crate::weights::Weights;

/// Width of the sinusoid that the time becomes.
const SINUSOID: usize = 256;
/// Base of the rotary frequencies.
const THETA: f64 = 10000.0;
/// Given pictures that it tells apart.
pub(super) const PICTURES: usize = 5;

/// An OmniGen2 transformer.
pub struct OmniGen2Transformer {
    config: OmniGen2Config,
    time: EmbedMlp,
    text_norm: RmsNorm,
    text_in: Linear,
    text_refiner: Vec<Block>,
    image_in: Linear,
    image_refiner: Vec<TimedBlock>,
    picture_in: Linear,
    /// Tells one given picture from the next: `[PICTURES, width]`.
    numbers: Tensor,
    picture_refiner: Vec<TimedBlock>,
    layers: Vec<TimedBlock>,
    norm_out: Linear,
    out: Linear,
}

/// A text as the layers read it: the same at every step.
pub(super) struct Reading {
    /// `[1, tokens, width]`.
    tokens: Tensor,
    /// With the pictures behind it, or without.
    sees_pictures: bool,
    /// Where the text is, what it sees, and the drawn picture.
    rotary: Rotary,
}

/// What is drawn and given, for every step.
pub(super) struct Places {
    canvas: Canvas,
    image: Rotary,
    pictures: Vec<Picture>,
}

/// A given picture.
struct Picture {
    /// `[1, tokens, 4 · channels]`.
    patches: Tensor,
    /// Rows and columns of them.
    cells: (usize, usize),
    rotary: Rotary,
}

/// What every reading of a step sees.
pub(super) struct Scene {
    /// Behind its SiLU, `[1, time width]`.
    time: Tensor,
    /// All given pictures one after the other, `[1, tokens, width]`.
    pictures: Option<Tensor>,
    /// `[batch, tokens, width]`.
    image: Tensor,
}

/// Who watches a pass.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    pub(super) observer: &'a dyn Observer,
    pub(super) probe: Option<Probe<'a>>,
}

impl OmniGen2Transformer {
    /// Loads the transformer.
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &OmniGen2Config, w: &Weights) -> Result<Self> {
        let (width, cell) = (config.width, 4 * config.channels);
        let embed = w.pp("time_caption_embed");
        let caption = embed.pp("caption_embedder");
        let blocks = |name: &str, count: usize| -> Result<Vec<TimedBlock>> {
            (0..count).map(|i| TimedBlock::load(config, &w.pp(name).pp(i))).collect()
        };
        let timeless = |i| Block::load(config, &w.pp("context_refiner").pp(i));
        let last = w.pp("norm_out");
        Ok(Self {
            time: EmbedMlp::load(&embed.pp("timestep_embedder"), SINUSOID, config.time_width())?,
            text_norm: RmsNorm::load(&caption.pp(0), config.text_width, config.eps)?,
            text_in: Linear::load(&caption.pp(1), config.text_width, width)?,
            text_refiner: (0..config.refiners).map(timeless).collect::<Result<_>>()?,
            image_in: Linear::load(&w.pp("x_embedder"), cell, width)?,
            image_refiner: blocks("noise_refiner", config.refiners)?,
            picture_in: Linear::load(&w.pp("ref_image_patch_embedder"), cell, width)?,
            numbers: w.get((PICTURES, width), "image_index_embedding")?,
            picture_refiner: blocks("ref_image_refiner", config.refiners)?,
            layers: blocks("layers", config.layers)?,
            norm_out: Linear::load(&last.pp("linear_1"), config.time_width(), width)?,
            out: Linear::load(&last.pp("linear_2"), width, cell)?,
            config: config.clone(),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &OmniGen2Config {
        &self.config
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.image_in.dtype()
    }

    /// The picture that is drawn, and the latents `[1, channels, h, w]` of those that are given.
    pub(super) fn places(&self, canvas: Canvas, pictures: &[Tensor]) -> Result<Places> {
        let picture = |latents: &Tensor| -> Result<Picture> {
            let (_, _, height, width) = latents.dims4()?;
            let cells = (height / 2, width / 2);
            Ok(Picture { patches: patch(latents)?, cells, rotary: self.rotary(&grid(0, cells))? })
        };
        let image = self.rotary(&grid(0, canvas.cells()))?;
        Ok(Places { canvas, image, pictures: pictures.iter().map(picture).collect::<Result<_>>()? })
    }

    /// A text `[1, tokens, text width]`, to be read with the given pictures or without.
    pub(super) fn reading(
        &self,
        states: &Tensor,
        places: &Places,
        sees_pictures: bool,
        watched: Watched<'_>,
    ) -> Result<Reading> {
        let length = states.dim(1)?;
        let line = line(length);
        let rotary = self.rotary(&line)?;
        let tokens = self.text_in.forward(&self.text_norm.forward(&states.to_dtype(self.dtype())?)?)?;
        let refine = |block: &Block, tokens: &Tensor| block.forward(tokens, &rotary);
        let tokens = run(&self.text_refiner, "context_refiner", tokens, watched, refine)?;
        let seen = if sees_pictures { &places.pictures[..] } else { &[] };
        let (mut positions, mut shift) = (line, length);
        for picture in seen {
            positions.extend(grid(shift, picture.cells));
            shift += picture.cells.0.max(picture.cells.1);
        }
        positions.extend(grid(shift, places.canvas.cells()));
        Ok(Reading { tokens, sees_pictures, rotary: self.rotary(&positions)? })
    }

    /// What is drawn, `[batch, channels, h, w]`, and what is given, at a time from 0, noise, to 1. Their own blocks see how
    /// far apart two tokens of one picture are and not where it stands behind a text, so that one scene serves all readings.
    pub(super) fn scene(&self, latents: &Tensor, places: &Places, time: f32, watched: Watched<'_>) -> Result<Scene> {
        let level = Tensor::new(&[time], latents.device())?;
        let waves = sinusoid(&level, SINUSOID, self.config.time_scale)?.to_dtype(self.time.dtype())?;
        let time = silu(&self.time.forward(&waves)?)?;
        let image = self.image_in.forward(&patch(latents)?)?;
        let refine = |block: &TimedBlock, tokens: &Tensor| block.forward(tokens, &time, &places.image);
        let image = run(&self.image_refiner, "noise_refiner", image, watched, refine)?;
        let mut pictures = Vec::with_capacity(places.pictures.len());
        for (i, picture) in places.pictures.iter().enumerate() {
            let tokens = self.picture_in.forward(&picture.patches)?.broadcast_add(&self.numbers.get(i)?)?;
            let name = format!("ref_image_refiner.image{i}");
            let refine = |block: &TimedBlock, tokens: &Tensor| block.forward(tokens, &time, &picture.rotary);
            pictures.push(run(&self.picture_refiner, &name, tokens, watched, refine)?);
        }
        let pictures = if pictures.is_empty() { None } else { Some(Tensor::cat(&pictures, 1)?) };
        Ok(Scene { time, pictures, image })
    }

    /// data − noise for every latent as this reading has it, `[batch, channels, h, w]`.
    pub(super) fn forward(
        &self,
        scene: &Scene,
        reading: &Reading,
        canvas: Canvas,
        watched: Watched<'_>,
    ) -> Result<Tensor> {
        let batch = scene.image.dim(0)?;
        let mut parts = vec![reading.tokens.repeat((batch, 1, 1))?];
        if let Some(pictures) = scene.pictures.as_ref().filter(|_| reading.sees_pictures) {
            parts.push(pictures.repeat((batch, 1, 1))?);
        }
        parts.push(scene.image.clone());
        let tokens = Tensor::cat(&parts, 1)?;
        drop(parts);
        let joined = |block: &TimedBlock, tokens: &Tensor| block.forward(tokens, &scene.time, &reading.rotary);
        let tokens = run(&self.layers, "layers", tokens, watched, joined)?;
        let drawn = scene.image.dim(1)?;
        let image = tokens.narrow(1, tokens.dim(1)? - drawn, drawn)?;
        let scale = self.norm_out.forward(&scene.time)?;
        let out = self.out.forward(&modulated_norm(&image, &scale.zeros_like()?, &scale, EPS)?)?;
        unpatch(&out, canvas)
    }

    fn rotary(&self, positions: &[Vec<u32>]) -> Result<Rotary> {
        Rotary::new(positions, &self.config.axes, THETA, self.device())
    }

    fn device(&self) -> &Device {
        self.image_in.device()
    }
}

/// Block after block; between two of them the observer may end it. Probes see what the first of a batch becomes.
fn run<B>(
    blocks: &[B],
    name: &str,
    mut tokens: Tensor,
    watched: Watched<'_>,
    forward: impl Fn(&B, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    for (i, block) in blocks.iter().enumerate() {
        watched.observer.ask().check()?;
        tokens = forward(block, &tokens)?;
        watched.probe.map_or(Ok(()), |probe| probe(&format!("{name}.{i}.out"), &tokens.get(0)?))?;
    }
    Ok(tokens)
}

/// Places of a text's tokens: the same on all axes.
fn line(tokens: usize) -> Vec<Vec<u32>> {
    (0..tokens).map(|i| vec![i as u32; 3]).collect()
}

/// Places of a picture's tokens, row by row, behind so many others.
fn grid(shift: usize, (rows, columns): (usize, usize)) -> Vec<Vec<u32>> {
    (0..rows * columns).map(|i| vec![shift as u32, (i / columns) as u32, (i % columns) as u32]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_behind_the_text_row_by_row() {
        assert_eq!(line(2), [[0, 0, 0], [1, 1, 1]]);
        assert_eq!(grid(7, (2, 3))[2..4], [[7, 0, 2], [7, 1, 0]]);
    }
}
