//! AuraFlow text to image, as diffusers' `AuraFlowPipeline` runs it.

mod blocks;
mod names;
mod transformer;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

pub use names::NAMES;
pub use transformer::{AuraConfig, AuraInputs, AuraTransformer};

use super::{Context, Family, Pipeline};
use crate::adapters::lora::{self, Part};
use crate::call::{Call, Sizes};
use crate::encoders::{T5Config, T5Encoder};
use crate::error::Result;
use crate::observer::Stage;
use crate::pixels::Pixels;
use crate::samplers::{Euler, Sampler, TrainedSpacing};
use crate::stages::{self, Canvas, DIFFUSERS, Held, TRANSFORMERS, Texts, load_held, load_vae};
use crate::tokenize::T5Tokenizer;
use crate::trace::Trace;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{Checkpoint, Config, Evict, Precision, Reloadable, Weights};

/// Text tokens that the released models were trained with.
const TOKENS: usize = 256;
/// More than that was never tried.
const MOST_TOKENS: usize = 512;

pub(super) const FAMILY: Family = Family {
    class: "AuraFlowPipeline",
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
    guidance: 3.5,
    open: |checkpoint, precision| Ok(Box::new(AuraFlow::load(checkpoint, precision)?)),
};

/// What LoRAs put before the names of the text encoder.
const ENCODER_PREFIXES: &[&str] = &["text_encoder.", "text_encoders.pile_t5xl.transformer.", "lora_te_", "lora_te1_"];

/// A loaded AuraFlow. A clone shares everything.
#[derive(Clone)]
struct AuraFlow {
    tokenizer: Arc<T5Tokenizer>,
    encoders: Reloadable<Held<T5Encoder>>,
    texts: Texts<Tensor>,
    transformer: Held<AuraTransformer>,
    vae: Arc<Vae>,
    spacing: TrainedSpacing,
    device: Device,
    /// Type of latents and embeddings: the transformer's.
    dtype: DType,
}

impl AuraFlow {
    fn load(checkpoint: &Checkpoint, precision: &Precision) -> Result<Self> {
        let transformer_file = checkpoint.config("transformer/config.json")?;
        let transformer_config = AuraConfig::read(&transformer_file)?;
        let vae_config = VaeConfig::read(&checkpoint.config("vae/config.json")?)?;
        let encoder_config = T5Config::read(&checkpoint.config("text_encoder/config.json")?)?;
        check_fit(&transformer_file, &transformer_config, &vae_config, &encoder_config)?;
        let none = |_: &str| false;
        let transformer = load_held(checkpoint, "transformer", DIFFUSERS, precision, none, move |w| {
            AuraTransformer::load(&transformer_config, w)
        })?;
        // this autoencoder and UMT5 overflow in float16
        let exact = stages::instead_of_half(precision, DType::F32);
        let vae = load_vae(checkpoint, &vae_config, &exact)?;
        let wide = stages::instead_of_half(precision, DType::BF16);
        let again = checkpoint.clone();
        let encoders = Reloadable::now(move || {
            let config = encoder_config.clone();
            let build = move |w: &Weights| T5Encoder::load(&config, w);
            load_held(&again, "text_encoder", TRANSFORMERS, &wide, T5Encoder::ignores, build)
        })?;
        Ok(Self {
            tokenizer: Arc::new(T5Tokenizer::load(checkpoint, "tokenizer")?),
            encoders,
            texts: Texts::default(),
            dtype: transformer.dtype(),
            transformer,
            vae: Arc::new(vae),
            spacing: TrainedSpacing::read(&checkpoint.config("scheduler/scheduler_config.json")?)?,
            device: precision.device.clone(),
        })
    }

    /// The model and its text encoder with the call's LoRAs.
    fn changed(&self, call: &Call, context: &Context<'_>) -> Result<(Self, Reloadable<Held<T5Encoder>>)> {
        if call.loras.is_empty() {
            return Ok((self.clone(), self.encoders.clone()));
        }
        let base = self.encoders.get(context.observer)?;
        let names = Some(&NAMES);
        let parts = [
            Part { folder: "transformer", weights: self.transformer.weights(), names, prefixes: lora::TRANSFORMER },
            Part { folder: "text_encoder", weights: base.weights(), names: None, prefixes: ENCODER_PREFIXES },
        ];
        let Some([transformer, encoder]) = lora::overlays(&call.loras, &parts, context)? else {
            return Ok((self.clone(), self.encoders.using(base)));
        };
        let encoder = self.encoders.using(Arc::new(base.with(encoder)?));
        Ok((Self { transformer: self.transformer.with(transformer)?, ..self.clone() }, encoder))
    }

    fn draw(
        &self,
        encoder: Reloadable<Held<T5Encoder>>,
        canvas: Canvas,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Vec<Pixels>> {
        let encode = || encoder.during(context.observer, |encoder| self.encode(encoder, call, context));
        let text = self.texts.of(call, call.is_guided(), context, encode)?;
        let latents = self.denoise(canvas, &text, call, context)?;
        drop(text);
        stages::decode(&self.vae, &latents, context)
    }

    /// The states of the prompt for each picture; where guidance is on, those of the negative prompt before them.
    fn encode(&self, encoder: &T5Encoder, call: &Call, context: &Context<'_>) -> Result<Tensor> {
        let encode = |label: &str, text: &str| self.encode_text(encoder, label, text, call, context);
        let (prompt, negative) = stages::prompts(call, context, encode)?;
        stages::one_batch(prompt, negative)
    }

    fn encode_text(
        &self,
        encoder: &T5Encoder,
        label: &str,
        text: &str,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Tensor> {
        let length = call.text_tokens(TOKENS, MOST_TOKENS)?;
        let (ids, real) = self.tokenizer.encode_counted(text, length)?;
        let states = encoder.forward_masked(&ids, real)?;
        let mask: Vec<i64> = (0..length).map(|place| i64::from(place < real)).collect();
        let mask = Tensor::from_vec(mask, (1, length), &Device::Cpu)?;
        let parts = [
            ("tokenizer.input_ids", &stages::ids_tensor(&ids)?),
            ("tokenizer.attention_mask", &mask),
            ("text_encoder.last_hidden_state", &states),
        ];
        stages::trace_texts(context, label, &parts)?;
        // the transformer has no mask: padding is zeros there
        let mask = mask.to_dtype(states.dtype())?.to_device(&self.device)?.unsqueeze(2)?;
        stages::repeated(&states.broadcast_mul(&mask)?, call.images, self.dtype)
    }

    fn denoise(&self, canvas: Canvas, text: &Tensor, call: &Call, context: &Context<'_>) -> Result<Tensor> {
        context.observer.stage(Stage::Denoise).check()?;
        let noise = canvas.noise(call.seed)?;
        let sampler = Euler::new(self.spacing.levels(call.steps));
        stages::begin(context, &noise, sampler.schedule())?;
        let predict = |index: usize, timestep: f32, latents: &Tensor| -> Result<Tensor> {
            let image = if call.is_guided() { stages::doubled(latents)? } else { latents.clone() };
            let level = Tensor::full(timestep / 1000.0, image.dim(0)?, &self.device)?.to_dtype(self.dtype)?;
            let inputs = AuraInputs { image: &image, text, timestep: &level, observer: context.observer };
            let given = |trace: &Trace| {
                stages::trace_input(
                    trace,
                    &[("hidden_states", &image), ("encoder_hidden_states", text), ("timestep", &level)],
                )
            };
            let velocity =
                stages::predicted(context, index, given, |probe| self.transformer.forward(&inputs, canvas, probe))?;
            if call.is_guided() { stages::guided_halves(&velocity, call.guidance) } else { Ok(velocity) }
        };
        let preview = |latents: &Tensor| stages::preview(&self.vae, &latents.narrow(0, 0, 1)?);
        let latents = noise.to_dtype(self.dtype)?.to_device(&self.device)?;
        stages::walk(latents, sampler, context, &preview, &predict)
    }
}

impl Pipeline for AuraFlow {
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        call.check()?;
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        let (model, encoder) = self.changed(call, context)?;
        model.draw(encoder, canvas, call, context)
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
        self.tokenizer.unknown_words(prompt)
    }

    fn encoders(&self) -> Option<&dyn Evict> {
        Some(&self.encoders)
    }
}

/// Makes sure that the components speak of the same widths.
fn check_fit(file: &Config, transformer: &AuraConfig, vae: &VaeConfig, encoder: &T5Config) -> Result<()> {
    file.fits(&[
        ("in_channels", transformer.in_channels, vae.latent_channels, "the latent channels"),
        ("out_channels", transformer.out_channels, vae.latent_channels, "the latent channels"),
        ("joint_attention_dim", transformer.text_width, encoder.d_model, "the width of text_encoder"),
    ])
}
