//! CompVis' safety checker, as diffusers' `StableDiffusionSafetyChecker` computes it.

use candle_core::Tensor;

use super::{finite, kept};
use crate::encoders::{ClassTower, ClassTowerConfig, Make};
use crate::error::Result;
use crate::families::Context;
use crate::nn::Linear;
use crate::weights::{Config, Named, Weights};

/// What it compares pictures with, and what makes it stricter.
const CONCEPTS: usize = 17;
const SPECIAL: usize = 3;

/// Added to the scores of a picture that is near to something special.
const ADJUSTMENT: f32 = 0.01;

/// Its sizes.
#[derive(Clone, Debug)]
pub struct CompVisConfig {
    /// CLIP's vision tower.
    pub tower: ClassTowerConfig,
    /// Width of what is compared.
    pub projection: usize,
}

impl CompVisConfig {
    /// From its `config.json`, which describes a whole CLIP.
    ///
    /// # Errors
    /// What [`ClassTowerConfig::read`] says.
    pub fn read(config: &Config) -> Result<Self> {
        let tower = ClassTowerConfig::read(&config.inner("vision_config")?, Make::Clip)?;
        Ok(Self { tower, projection: config.size_or("projection_dim", 768)? })
    }
}

/// CLIP's vision tower, and embeddings of what pictures must not be near to.
pub struct CompVis {
    tower: ClassTower,
    projection: Linear,
    special: Heads,
    concepts: Heads,
}

/// Embeddings of unit length, and how near to each a picture may be.
struct Heads {
    embeds: Tensor, // [width, heads]
    thresholds: Vec<f32>,
}

impl Heads {
    fn load(w: &Weights, name: &str, heads: usize, width: usize) -> Result<Self> {
        let thresholds = w.get(heads, &format!("{name}_weights"))?;
        let embeds = normalized(&w.get((heads, width), name)?)?.t()?.contiguous()?;
        Ok(Self { embeds, thresholds: thresholds.to_vec1()? })
    }

    /// How much nearer than allowed a picture with these cosines is to each, in thousandths that diffusers rounds to.
    fn scores(&self, cosines: &[f32], adjustment: impl Fn(&[f32]) -> f32) -> Vec<f32> {
        let mut scores = Vec::with_capacity(cosines.len());
        for (cosine, threshold) in cosines.iter().zip(&self.thresholds) {
            let score = cosine - threshold + adjustment(&scores);
            scores.push((score * 1000.0).round_ties_even() / 1000.0);
        }
        scores
    }
}

impl CompVis {
    /// Loads it; its tensors have the names of [`CompVis::name`].
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &CompVisConfig, w: &Weights) -> Result<Self> {
        let CompVisConfig { tower, projection } = config;
        Ok(Self {
            special: Heads::load(w, "special_care_embeds", SPECIAL, *projection)?,
            concepts: Heads::load(w, "concept_embeds", CONCEPTS, *projection)?,
            tower: ClassTower::load(tower, w)?,
            projection: Linear::load_no_bias(&w.pp("visual_projection"), tower.hidden, *projection)?,
        })
    }

    /// What a tensor of its files is called here.
    pub fn name(name: &str) -> Named {
        ClassTower::name(Make::Clip, name)
    }

    /// Whether it is too near to one of the concepts; nearer to something special, less is allowed.
    pub(super) fn flags(&self, pixels: &Tensor, context: &Context<'_>) -> Result<bool> {
        let pooled = self.tower.forward(pixels, context.observer)?;
        let embeds = self.projection.forward(&pooled)?;
        kept(context, "pooled", &pooled)?;
        kept(context, "embeds", &embeds)?;
        let unit = normalized(&embeds)?;
        let (special, concepts) = (unit.matmul(&self.special.embeds)?, unit.matmul(&self.concepts.embeds)?);
        kept(context, "special_cosines", &special)?;
        kept(context, "concept_cosines", &concepts)?;
        let is_near = |scores: &[f32]| scores.iter().any(|score| *score > 0.0);
        let stricter = |scores: &[f32]| if is_near(scores) { ADJUSTMENT } else { 0.0 };
        // the first special one that is near makes all that follow stricter, the special ones too
        let special = self.special.scores(&finite(&special)?, stricter);
        let concepts = self.concepts.scores(&finite(&concepts)?, |_| stricter(&special));
        for (name, scores) in [("special_scores", &special), ("concept_scores", &concepts)] {
            kept(context, name, &Tensor::from_slice(scores, (1, scores.len()), pixels.device())?)?;
        }
        Ok(is_near(&concepts))
    }
}

/// Rows of unit length, as `torch.nn.functional.normalize` makes them.
fn normalized(rows: &Tensor) -> Result<Tensor> {
    let length = rows.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    Ok(rows.broadcast_div(&length)?)
}
