//! Stable Diffusion 3.5 text to image, as diffusers' `StableDiffusion3Pipeline` runs it.

mod attach;
mod blocks;
mod condition;
mod controlnet;
mod guides;
mod ip_adapter;
mod names;
mod resampler;
mod text;
mod transformer;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

pub use controlnet::{ControlNetConfig, Sd35ControlNet};
pub use ip_adapter::{IpAdapterConfig, Sd35IpAdapter};
pub use names::NAMES;
pub use resampler::ResamplerConfig;
pub use transformer::{Sd35Config, Sd35Inputs, Sd35Transformer};

use super::{Context, Family, Pipeline};
use crate::adapters::lora::{self, Part};
use crate::call::{Call, Sizes};
use crate::error::Result;
use crate::observer::Stage;
use crate::pixels::Pixels;
use crate::samplers::{Euler, Sampler, TrainedSpacing};
use crate::stages::{self, Canvas, DIFFUSERS, Held, Texts, load_held, load_vae};
use crate::trace::Trace;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{Checkpoint, Evict, Precision, Reloadable};
use attach::Adapters;
use guides::Guides;
use text::{Text, TextEncoders, Tokenizers};
use transformer::StepGuides;

pub(super) const FAMILY: Family = Family {
    class: "StableDiffusion3Pipeline",
    accepts: &[
        "prompt",
        "negative_prompt",
        "image_size",
        "num_inference_steps",
        "guidance_scale",
        "seed",
        "num_images",
        "max_sequence_length",
        "loras",
        "controlnet",
        "ip_adapter",
    ],
    steps: 28,
    guidance: 7.0,
    open: |checkpoint, precision| Ok(Box::new(Sd35::load(checkpoint, precision)?)),
};

/// A loaded Stable Diffusion 3.5. A clone shares everything.
#[derive(Clone)]
struct Sd35 {
    tokenizers: Arc<Tokenizers>,
    encoders: Reloadable<TextEncoders>,
    texts: Texts<Text>,
    transformer: Held<Sd35Transformer>,
    vae: Arc<Vae>,
    spacing: TrainedSpacing,
    device: Device,
    /// Type of latents and embeddings: the transformer's.
    dtype: DType,
    /// What calls attach, and how it is read.
    adapters: Arc<Adapters>,
    precision: Precision,
}

impl Sd35 {
    fn load(checkpoint: &Checkpoint, precision: &Precision) -> Result<Self> {
        let transformer_file = checkpoint.config("transformer/config.json")?;
        let transformer_config = Sd35Config::read(&transformer_file)?;
        let vae_config = VaeConfig::read(&checkpoint.config("vae/config.json")?)?;
        let channels = vae_config.latent_channels;
        transformer_file.fits(&[
            ("in_channels", transformer_config.in_channels, channels, "the latent channels"),
            ("out_channels", transformer_config.out_channels, channels, "the latent channels"),
        ])?;
        let none = |_: &str| false;
        let tokenizers = Arc::new(Tokenizers::load(checkpoint)?);
        let (again, precise, sizes) = (checkpoint.clone(), precision.clone(), transformer_config.clone());
        let encoders = Reloadable::now(move || TextEncoders::load(&again, &precise, &transformer_file, &sizes))?;
        let transformer = load_held(checkpoint, "transformer", DIFFUSERS, precision, none, move |w| {
            Sd35Transformer::load(&transformer_config, w)
        })?;
        let vae = load_vae(checkpoint, &vae_config, precision)?;
        Ok(Self {
            tokenizers,
            encoders,
            texts: Texts::default(),
            dtype: transformer.dtype(),
            transformer,
            vae: Arc::new(vae),
            spacing: TrainedSpacing::read(&checkpoint.config("scheduler/scheduler_config.json")?)?,
            device: precision.device.clone(),
            adapters: Arc::default(),
            precision: precision.clone(),
        })
    }

    /// The model and its text encoders with the call's LoRAs.
    fn changed(&self, call: &Call, context: &Context<'_>) -> Result<(Self, Reloadable<TextEncoders>)> {
        if call.loras.is_empty() {
            return Ok((self.clone(), self.encoders.clone()));
        }
        let base = self.encoders.get(context.observer)?;
        let names = Some(&NAMES);
        let [l, g, t5] = base.parts();
        let parts = [
            Part { folder: "transformer", weights: self.transformer.weights(), names, prefixes: lora::TRANSFORMER },
            l,
            g,
            t5,
        ];
        let Some([transformer, texts @ ..]) = lora::overlays(&call.loras, &parts, context)? else {
            return Ok((self.clone(), self.encoders.using(base)));
        };
        let encoders = self.encoders.using(Arc::new(base.with(texts)?));
        Ok((Self { transformer: self.transformer.with(transformer)?, ..self.clone() }, encoders))
    }

    fn draw(
        &self,
        encoders: Reloadable<TextEncoders>,
        canvas: Canvas,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Vec<Pixels>> {
        let guides = self.attach(canvas, call, context)?;
        let encode = || encoders.during(context.observer, |encoders| self.encode(encoders, call, context));
        let text = self.texts.of(call, call.is_guided(), context, encode)?;
        let latents = self.denoise(canvas, &text, &guides, call, context)?;
        drop((text, guides));
        stages::decode(&self.vae, &latents, context)
    }

    /// The prompt for each picture; where guidance is on, the negative prompt before it.
    fn encode(&self, encoders: &TextEncoders, call: &Call, context: &Context<'_>) -> Result<Text> {
        let encode = |label: &str, text: &str| -> Result<Text> {
            let one = encoders.encode(&self.tokenizers, label, text, call, context)?;
            let each = |states: &Tensor| stages::repeated(states, call.images, self.dtype);
            Ok(Text { sequence: each(&one.sequence)?, pooled: each(&one.pooled)? })
        };
        let (prompt, negative) = stages::prompts(call, context, encode)?;
        let (sequence, pooled) = negative.map(|negative| (negative.sequence, negative.pooled)).unzip();
        Ok(Text {
            sequence: stages::one_batch(prompt.sequence, sequence)?,
            pooled: stages::one_batch(prompt.pooled, pooled)?,
        })
    }

    fn denoise(
        &self,
        canvas: Canvas,
        text: &Text,
        guides: &Guides,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Tensor> {
        context.observer.stage(Stage::Denoise).check()?;
        let noise = canvas.noise(call.seed)?;
        let sampler = Euler::new(self.spacing.levels(call.steps));
        stages::begin(context, &noise, sampler.schedule())?;
        let predict = |index: usize, timestep: f32, latents: &Tensor| -> Result<Tensor> {
            let image = if call.is_guided() { stages::doubled(latents)? } else { latents.clone() };
            let times = Tensor::full(timestep, image.dim(0)?, &self.device)?;
            let inputs = Sd35Inputs {
                image: &image,
                text: &text.sequence,
                pooled: &text.pooled,
                timestep: &times,
                observer: context.observer,
            };
            let trace = context.first(index);
            let picture =
                guides.picture.as_ref().map(|guide| guide.at(timestep, trace, context.observer)).transpose()?;
            let mut step = StepGuides { residuals: Vec::new(), picture: picture.as_ref() };
            if let Some(guide) = guides.control.as_ref().filter(|guide| guide.is_active(index, call.steps)) {
                step.residuals = guide.residuals(&self.transformer.embed_image(&image, canvas)?, &inputs, trace)?;
            }
            let given = |trace: &Trace| {
                stages::trace_input(
                    trace,
                    &[
                        ("hidden_states", &image),
                        ("encoder_hidden_states", &text.sequence),
                        ("pooled_projections", &text.pooled),
                        ("timestep", &times),
                    ],
                )
            };
            let velocity = stages::predicted(context, index, given, |probe| {
                self.transformer.forward(&inputs, &step, canvas, probe)
            })?;
            if call.is_guided() { stages::guided_halves(&velocity, call.guidance) } else { Ok(velocity) }
        };
        let preview = |latents: &Tensor| stages::preview(&self.vae, &latents.narrow(0, 0, 1)?);
        let latents = noise.to_dtype(self.dtype)?.to_device(&self.device)?;
        stages::walk(latents, sampler, context, &preview, &predict)
    }
}

impl Pipeline for Sd35 {
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        call.check()?;
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        let (model, encoders) = self.changed(call, context)?;
        model.draw(encoders, canvas, call, context)
    }

    fn working(&self, call: &Call) -> Result<u64> {
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        Ok(stages::working(
            canvas,
            self.transformer.config().width(),
            1 + usize::from(call.is_guided()),
            self.dtype,
            &self.vae,
        ))
    }

    fn sizes(&self) -> Sizes {
        let multiple = 2 * self.vae.config().factor();
        Sizes { multiple, longest: Some(self.transformer.config().side * multiple) }
    }

    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>> {
        self.tokenizers.unknown_words(prompt)
    }

    fn encoders(&self) -> Option<&dyn Evict> {
        Some(&self.encoders)
    }
}
