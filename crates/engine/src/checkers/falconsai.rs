//! Falconsai's detector, as transformers' `ViTForImageClassification` computes it.

use candle_core::Tensor;
use serde_json::Value;

use super::{finite, kept};
use crate::encoders::{ClassTower, ClassTowerConfig, Make};
use crate::error::Result;
use crate::families::Context;
use crate::nn::{Linear, softmax};
use crate::weights::{Config, Named, Weights};

/// The probability from which a picture is flagged: where Black Forest Labs' published filter, which uses this network, blocks.
const THRESHOLD: f32 = 0.85;

/// The class of pictures that not everybody should see.
const CLASS: &str = "nsfw";

/// Its sizes.
#[derive(Clone, Debug)]
pub struct FalconsaiConfig {
    /// The vision transformer.
    pub tower: ClassTowerConfig,
    /// How many classes it tells apart.
    pub classes: usize,
    /// Which of them is the one.
    pub class: usize,
}

impl FalconsaiConfig {
    /// From its `config.json`.
    ///
    /// # Errors
    /// What [`ClassTowerConfig::read`] says, and classes among which `nsfw` is none.
    pub fn read(config: &Config) -> Result<Self> {
        let labels = config.get("id2label").and_then(Value::as_object);
        let found = labels.and_then(|labels| {
            let place = |(id, label): (&String, &Value)| {
                let is_it = label.as_str().is_some_and(|label| label.eq_ignore_ascii_case(CLASS));
                id.parse().ok().filter(|id: &usize| is_it && *id < labels.len())
            };
            Some((labels.len(), labels.iter().find_map(place)?))
        });
        let Some((classes, class)) = found else {
            let got = labels.map_or_else(|| "absent".to_owned(), |labels| Value::Object(labels.clone()).to_string());
            return Err(config.unsupported("id2label", got, "classes of which one is nsfw"));
        };
        Ok(Self { tower: ClassTowerConfig::read(config, Make::Vit)?, classes, class })
    }
}

/// A vision transformer and one linear layer.
pub struct Falconsai {
    tower: ClassTower,
    classifier: Linear,
    class: usize,
}

impl Falconsai {
    /// Loads it; its tensors have the names of [`Falconsai::name`].
    ///
    /// # Errors
    /// What [`Weights::get`] says.
    pub fn load(config: &FalconsaiConfig, w: &Weights) -> Result<Self> {
        let FalconsaiConfig { tower, classes, class } = config;
        let classifier = Linear::load(&w.pp("classifier"), tower.hidden, *classes)?;
        Ok(Self { tower: ClassTower::load(tower, w)?, classifier, class: *class })
    }

    /// What a tensor of its files is called here.
    pub fn name(name: &str) -> Named {
        ClassTower::name(Make::Vit, name)
    }

    /// Whether it is so likely of that class.
    pub(super) fn flags(&self, pixels: &Tensor, context: &Context<'_>) -> Result<bool> {
        let pooled = self.tower.forward(pixels, context.observer)?;
        let logits = self.classifier.forward(&pooled)?;
        let probabilities = softmax(&logits)?;
        kept(context, "pooled", &pooled)?;
        kept(context, "logits", &logits)?;
        kept(context, "probabilities", &probabilities)?;
        Ok(finite(&probabilities)?[self.class] >= THRESHOLD)
    }
}
