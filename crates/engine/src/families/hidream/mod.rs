//! HiDream-I1, as diffusers' `HiDreamImagePipeline` runs it: Full, and Dev and Fast, which differ in their schedulers.

mod attention;
mod blocks;
mod brought;
mod config;
mod experts;
mod text;
mod transformer;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

pub(super) use brought::bytes_beside;
pub use config::HiDreamConfig;
pub use transformer::HiDreamTransformer;

use super::{Context, Family, Pipeline};
use crate::adapters::lora::{self, Part};
use crate::call::{Call, Sizes};
use crate::error::{Error, Result};
use crate::observer::Stage;
use crate::pixels::Pixels;
use crate::rng::Generator;
use crate::samplers::{Lcm, Sampler, Schedule, TrainedSpacing, UniPc, UniPcSpacing};
use crate::stages::{self, Bytes, Canvas, DIFFUSERS, Held, Texts, load_held, load_vae};
use crate::trace::Trace;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{Checkpoint, Config, Evict, Precision, Reloadable};
use text::{Text, TextEncoders, Tokenizers};
use transformer::{Captions, HiDreamInputs};

pub(super) const FAMILY: Family = Family {
    class: "HiDreamImagePipeline",
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
    ],
    steps: 50,
    // Dev and Fast were trained to do without
    guidance: 0.0,
    open: |checkpoint, precision| Ok(Box::new(HiDream::load(checkpoint, precision)?)),
};

/// A loaded HiDream-I1. A clone shares everything.
#[derive(Clone)]
struct HiDream {
    tokenizers: Arc<Tokenizers>,
    encoders: Reloadable<TextEncoders>,
    texts: Texts<Conditions>,
    transformer: Held<HiDreamTransformer>,
    vae: Arc<Vae>,
    walk: Walk,
    device: Device,
    /// Type of latents and embeddings: the transformer's.
    dtype: DType,
}

/// How noise levels are spaced and walked down.
#[derive(Clone)]
enum Walk {
    /// Full.
    UniPc(UniPcSpacing),
    /// Dev and Fast: every step has noise of its own.
    Lcm(TrainedSpacing),
}

/// The prompt for each picture; where guidance is on, the negative prompt before it.
#[derive(Clone)]
struct Conditions {
    captions: Captions,
    pooled: Tensor,
}

impl Bytes for Conditions {
    fn bytes(&self) -> usize {
        self.captions.bytes() + self.pooled.bytes()
    }
}

impl HiDream {
    fn load(checkpoint: &Checkpoint, precision: &Precision) -> Result<Self> {
        let transformer_file = checkpoint.config("transformer/config.json")?;
        let transformer_config = HiDreamConfig::read(&transformer_file)?;
        let vae_config = VaeConfig::read(&checkpoint.config("vae/config.json")?)?;
        let channels = ("in_channels", transformer_config.channels, vae_config.latent_channels, "the latent channels");
        transformer_file.fits(&[channels])?;
        let walk = Walk::read(&checkpoint.config("scheduler/scheduler_config.json")?)?;
        let brought = brought::find(checkpoint)?;
        let tokenizers = Arc::new(Tokenizers::load(checkpoint, &brought)?);
        let (again, precise, sizes) = (checkpoint.clone(), precision.clone(), transformer_config.clone());
        let encoders =
            Reloadable::now(move || TextEncoders::load(&again, &brought, &precise, &transformer_file, &sizes))?;
        // activations of the transformer leave float16's range as well
        let wide = stages::instead_of_half(precision, DType::BF16);
        let none = |_: &str| false;
        let transformer = load_held(checkpoint, "transformer", DIFFUSERS, &wide, none, move |w| {
            HiDreamTransformer::load(&transformer_config, w)
        })?;
        Ok(Self {
            tokenizers,
            encoders,
            texts: Texts::default(),
            dtype: transformer.dtype(),
            transformer,
            vae: Arc::new(load_vae(checkpoint, &vae_config, precision)?),
            walk,
            device: precision.device.clone(),
        })
    }

    /// The same model with the call's LoRAs, where they change anything.
    fn changed(&self, call: &Call, context: &Context<'_>) -> Result<Option<Self>> {
        // diffusers took over its publisher's names
        let weights = self.transformer.weights();
        let parts = [Part { folder: "transformer", weights, names: None, prefixes: lora::TRANSFORMER }];
        let Some([transformer]) = lora::overlays(&call.loras, &parts, context)? else { return Ok(None) };
        Ok(Some(Self { transformer: self.transformer.with(transformer)?, ..self.clone() }))
    }

    /// The canvas of a call, which has room for as many tokens as the model was made for.
    fn canvas(&self, call: &Call) -> Result<Canvas> {
        let (multiple, tokens) = (self.sizes().multiple, self.transformer.config().tokens);
        let shaped = call.to_trained_area.then(|| {
            let (width, height) = trained_area(call, tokens * multiple * multiple, multiple);
            Call { width, height, ..call.clone() }
        });
        let call = shaped.as_ref().unwrap_or(call);
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        let (rows, columns) = canvas.cells();
        if rows * columns > tokens {
            let (width, height, pixels) = (call.width, call.height, tokens * multiple * multiple);
            let problem =
                format!("must be at most {pixels} pixels, as many as this model was made for, got {width}×{height}");
            return Err(Error::Parameter { name: "image_size", problem });
        }
        Ok(canvas)
    }

    fn draw(&self, canvas: Canvas, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        let encode = || self.encoders.clone().during(context.observer, |encoders| self.encode(encoders, call, context));
        let conditions = self.texts.of(call, call.is_guided(), context, encode)?;
        let latents = self.denoise(canvas, &conditions, call, context)?;
        drop(conditions);
        stages::decode(&self.vae, &latents, context)
    }

    /// States of texts are dropped here: what the blocks read of them is computed once.
    fn encode(&self, encoders: &TextEncoders, call: &Call, context: &Context<'_>) -> Result<Conditions> {
        let encode = |label: &str, text: &str| -> Result<(Captions, Tensor)> {
            let Text { t5, llama, pooled } = encoders.encode(&self.tokenizers, label, text, call, context)?;
            let pooled = stages::repeated(&pooled, call.images, self.dtype)?;
            Ok((self.transformer.captions(&t5, &llama)?, pooled))
        };
        let ((prompt, pooled), negative) = stages::prompts(call, context, encode)?;
        let (negative, other) = negative.unzip();
        let texts: Vec<Captions> = negative.into_iter().chain([prompt]).collect();
        let captions = Captions::joined(&texts, call.images)?;
        Ok(Conditions { captions, pooled: stages::one_batch(pooled, other)? })
    }

    fn denoise(&self, canvas: Canvas, text: &Conditions, call: &Call, context: &Context<'_>) -> Result<Tensor> {
        context.observer.stage(Stage::Denoise).check()?;
        let noise = canvas.noise(call.seed)?;
        let latents = noise.to_dtype(self.dtype)?.to_device(&self.device)?;
        match &self.walk {
            Walk::UniPc(spacing) => {
                let schedule = spacing.levels(call.steps);
                if let Some(trace) = context.trace {
                    trace.put("schedule.timesteps", &whole(&schedule.timesteps)?)?;
                }
                stages::begin(context, &noise, &schedule)?;
                self.walk(latents, UniPc::new(schedule), canvas, text, call, context)
            }
            Walk::Lcm(spacing) => {
                let schedule: Schedule = spacing.levels(call.steps);
                stages::begin(context, &noise, &schedule)?;
                // the reference takes this noise from a generator that no seed of a call fixes; here it is the next seed's
                let sampler = Lcm::new(schedule, Generator::new(call.seed.wrapping_add(1)));
                self.walk(latents, sampler, canvas, text, call, context)
            }
        }
    }

    fn walk(
        &self,
        latents: Tensor,
        sampler: impl Sampler,
        canvas: Canvas,
        text: &Conditions,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Tensor> {
        let places = self.transformer.places(canvas, text.captions.tokens()?)?;
        let predict = |index: usize, timestep: f32, latents: &Tensor| -> Result<Tensor> {
            let image = if call.is_guided() { stages::doubled(latents)? } else { latents.clone() };
            let times = Tensor::full(timestep, image.dim(0)?, &self.device)?;
            let (captions, pooled, observer) = (&text.captions, &text.pooled, context.observer);
            let inputs = HiDreamInputs { image: &image, captions, pooled, timestep: &times, observer };
            let given = |trace: &Trace| {
                // UniPC's timesteps are whole
                let whole = matches!(self.walk, Walk::UniPc(_)).then(|| times.to_dtype(DType::I64)).transpose()?;
                stages::trace_input(trace, &[("timesteps", whole.as_ref().unwrap_or(&times))])
            };
            let out = stages::predicted(context, index, given, |probe| {
                self.transformer.forward(&inputs, &places, canvas, probe)
            })?;
            // it points from the noise to the data
            let velocity = out.neg()?;
            if call.is_guided() { stages::guided_halves(&velocity, call.guidance) } else { Ok(velocity) }
        };
        let preview = |latents: &Tensor| stages::preview(&self.vae, &latents.narrow(0, 0, 1)?);
        stages::walk(latents, sampler, context, &preview, &predict)
    }
}

impl Walk {
    fn read(config: &Config) -> Result<Self> {
        let class = config.text_or("_class_name", "UniPCMultistepScheduler");
        if Lcm::is_named(class) {
            return Ok(Self::Lcm(Lcm::spacing(config)?));
        }
        if UniPcSpacing::is_named(class) {
            return Ok(Self::UniPc(UniPcSpacing::read(config)?));
        }
        Err(config.unsupported("_class_name", class, "UniPCMultistepScheduler or FlowMatchLCMScheduler"))
    }
}

impl Pipeline for HiDream {
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        call.check()?;
        let canvas = self.canvas(call)?;
        let changed = self.changed(call, context)?;
        changed.as_ref().unwrap_or(self).draw(canvas, call, context)
    }

    fn working(&self, call: &Call) -> Result<u64> {
        let canvas = self.canvas(call)?;
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
        // of one row of cells
        Sizes { multiple, longest: Some(self.transformer.config().tokens * multiple) }
    }

    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>> {
        self.tokenizers.unknown_words(prompt)
    }

    fn encoders(&self) -> Option<&dyn Evict> {
        Some(&self.encoders)
    }
}

/// Width and height of a picture of the call's shape and nearly this area, multiples of `multiple` rounded down.
fn trained_area(call: &Call, area: usize, multiple: usize) -> (usize, usize) {
    if call.width == 0 || call.height == 0 {
        return (call.width, call.height);
    }
    let scale = (area as f64 / (call.width as f64 * call.height as f64)).sqrt();
    let side = |side: usize| ((side as f64 * scale / multiple as f64) as usize).saturating_mul(multiple);
    (side(call.width), side(call.height))
}

/// Whole timesteps as golden files hold them.
fn whole(timesteps: &[f32]) -> Result<Tensor> {
    let whole: Vec<i64> = timesteps.iter().map(|t| *t as i64).collect();
    Ok(Tensor::new(&whole[..], &Device::Cpu)?)
}
