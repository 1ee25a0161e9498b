//! F-Lite text to image, as its authors' `FLitePipeline` runs it; diffusers has none.

mod blocks;
mod config;
mod positions;
mod schedule;
mod transformer;

use candle_core::{DType, Device, Tensor};

pub use config::FLiteConfig;
pub use transformer::{FLiteInputs, FLiteTransformer};

use super::{Context, Family, Pipeline};
use crate::call::{Call, Sizes};
use crate::encoders::{T5Config, T5Encoder};
use crate::error::Result;
use crate::observer::Stage;
use crate::pixels::Pixels;
use crate::samplers::Euler;
use crate::stages::{self, Canvas, DIFFUSERS, TRANSFORMERS, Texts, load, load_vae};
use crate::tokenize::T5Tokenizer;
use crate::trace::Trace;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{Checkpoint, Config, Evict, Precision, Reloadable};

/// Text tokens, padding with them: the model was trained with it and sees it.
const TOKENS: usize = 512;
/// The last blocks of the text encoder that are left out: the text is what the ones before them make.
const UNUSED: usize = 7;

pub(super) const FAMILY: Family = Family {
    class: "FLitePipeline",
    accepts: &[
        "prompt",
        "negative_prompt",
        "image_size",
        "num_inference_steps",
        "guidance_scale",
        "seed",
        "num_images",
        "max_sequence_length",
    ],
    // the authors' own defaults
    steps: 30,
    guidance: 6.0,
    open: |checkpoint, precision| Ok(Box::new(FLite::load(checkpoint, precision)?)),
};

/// A loaded F-Lite.
struct FLite {
    tokenizer: T5Tokenizer,
    encoders: Reloadable<T5Encoder>,
    texts: Texts<Tensor>,
    transformer: FLiteTransformer,
    vae: Vae,
    device: Device,
    /// Type of latents and embeddings: the transformer's.
    dtype: DType,
}

impl FLite {
    fn load(checkpoint: &Checkpoint, precision: &Precision) -> Result<Self> {
        let transformer_file = checkpoint.config("dit_model/config.json")?;
        let transformer_config = FLiteConfig::read(&transformer_file)?;
        let vae_config = VaeConfig::read(&checkpoint.config("vae/config.json")?)?;
        let encoder_file = checkpoint.config("text_encoder/config.json")?;
        let encoder_config = T5Config::read(&encoder_file)?;
        check_fit(&transformer_file, &transformer_config, &vae_config, &encoder_config)?;
        let used = used_blocks(&encoder_file, &encoder_config)?;
        let none = |_: &str| false;
        let transformer = load(checkpoint, "dit_model", DIFFUSERS, precision, none, |w| {
            FLiteTransformer::load(&transformer_config, w)
        })?;
        let vae = load_vae(checkpoint, &vae_config, precision)?;
        // T5-XXL overflows in float16; bfloat16 has its range
        let wide = stages::instead_of_half(precision, DType::BF16);
        let again = checkpoint.clone();
        let encoders = Reloadable::now(move || {
            load(&again, "text_encoder", TRANSFORMERS, &wide, T5Encoder::ignores, |w| {
                T5Encoder::load_first(&encoder_config, used, w)
            })
        })?;
        Ok(Self {
            tokenizer: T5Tokenizer::load(checkpoint, "tokenizer")?,
            encoders,
            texts: Texts::default(),
            dtype: transformer.dtype(),
            transformer,
            vae,
            device: precision.device.clone(),
        })
    }

    /// The states of the prompt for each picture; where guidance is on, those of the negative prompt before them.
    fn encode(&self, encoder: &T5Encoder, call: &Call, context: &Context<'_>) -> Result<Tensor> {
        context.observer.stage(Stage::TextEncode).check()?;
        let encode = |label, text| self.encode_text(encoder, label, text, call, context);
        let prompt = encode("prompt", &call.prompt)?;
        // no negative prompt is no text at all, not an empty one
        let negative = match &*call.negative {
            _ if !call.is_guided() => None,
            "" => Some(prompt.zeros_like()?),
            text => Some(encode("negative", text)?),
        };
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
        let ids = self.tokenizer.encode(text, call.text_tokens(TOKENS, TOKENS)?)?;
        let states = encoder.forward(&ids)?;
        let parts = [("tokenizer.input_ids", &stages::ids_tensor(&ids)?), ("text_encoder.hidden", &states)];
        stages::trace_texts(context, label, &parts)?;
        stages::repeated(&states, call.images, self.dtype)
    }

    fn denoise(&self, canvas: Canvas, text: &Tensor, call: &Call, context: &Context<'_>) -> Result<Tensor> {
        context.observer.stage(Stage::Denoise).check()?;
        let noise = canvas.noise(call.seed)?;
        let schedule = schedule::levels(call.steps, canvas);
        stages::begin(context, &noise, &schedule)?;
        let levels = schedule.sigmas.clone();
        let predict = |index: usize, _: f32, latents: &Tensor| -> Result<Tensor> {
            let image = if call.is_guided() { stages::doubled(latents)? } else { latents.clone() };
            let level = Tensor::full(levels[index], image.dim(0)?, &self.device)?.to_dtype(self.dtype)?;
            let inputs = FLiteInputs { image: &image, text, level: &level, observer: context.observer };
            let given = |trace: &Trace| {
                stages::trace_input(
                    trace,
                    &[("hidden_states", &image), ("encoder_hidden_states", text), ("timestep", &level)],
                )
            };
            let both =
                stages::predicted(context, index, given, |probe| self.transformer.forward(&inputs, canvas, probe))?;
            let towards = guided(both, call)?;
            // the sampler wants to know where noise is
            Ok(towards.neg()?)
        };
        let preview = |latents: &Tensor| stages::preview(&self.vae, &latents.narrow(0, 0, 1)?);
        let latents = noise.to_dtype(self.dtype)?.to_device(&self.device)?;
        stages::walk(latents, Euler::new(schedule), context, &preview, &predict)
    }
}

impl Pipeline for FLite {
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        call.check()?;
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        let encode = || self.encoders.clone().during(context.observer, |encoder| self.encode(encoder, call, context));
        let text = self.texts.of(call, call.is_guided(), context, encode)?;
        let latents = self.denoise(canvas, &text, call, context)?;
        drop(text);
        stages::decode(&self.vae, &latents, context)
    }

    fn working(&self, call: &Call) -> Result<u64> {
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        Ok(stages::working(
            canvas,
            self.transformer.config().width,
            1 + usize::from(call.is_guided()),
            self.dtype,
            &self.vae,
        ))
    }

    fn sizes(&self) -> Sizes {
        let multiple = 2 * self.vae.config().factor();
        Sizes { multiple, longest: Some(positions::SIDE * multiple) }
    }

    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>> {
        self.tokenizer.unknown_words(prompt)
    }

    fn encoders(&self) -> Option<&dyn Evict> {
        Some(&self.encoders)
    }
}

/// What two passes come to together.
fn guided(both: Tensor, call: &Call) -> Result<Tensor> {
    match call.apg {
        _ if !call.is_guided() => Ok(both),
        Some(threshold) => stages::projected_halves(&both, call.guidance, threshold),
        None => stages::guided_halves(&both, call.guidance),
    }
}

/// How many of the text encoder's blocks are computed.
fn used_blocks(file: &Config, encoder: &T5Config) -> Result<usize> {
    match encoder.layers.checked_sub(UNUSED) {
        Some(used) if used > 0 => Ok(used),
        _ => Err(file.unsupported("num_layers", encoder.layers, &format!("more than {UNUSED}"))),
    }
}

/// Makes sure that the components speak of the same widths.
fn check_fit(file: &Config, transformer: &FLiteConfig, vae: &VaeConfig, encoder: &T5Config) -> Result<()> {
    file.fits(&[
        ("in_channels", transformer.channels, vae.latent_channels, "the latent channels"),
        ("cross_attn_input_size", transformer.text_width, encoder.d_model, "the width of text_encoder"),
    ])
}
