//! FLUX.1: text to image as diffusers' `FluxPipeline` runs it, image to image (`change`) as its `FluxImg2ImgPipeline`, and
//! fill (`fill`) as its `FluxFillPipeline` does.

mod blocks;
mod change;
mod condition;
mod fill;
mod names;
mod transformer;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

pub use names::NAMES;
pub use transformer::{FluxConfig, FluxInputs, FluxTransformer};

use super::{Context, Family, Pipeline};
use crate::adapters::lora::{self, Part};
use crate::call::{Acceleration, Call, Sizes};
use crate::encoders::{ClipConfig, ClipText, T5Config, T5Encoder};
use crate::error::Result;
use crate::observer::Stage;
use crate::pixels::Pixels;
use crate::samplers::{Euler, FlowSpacing, Sampler};
use crate::stages::{
    self, Bytes, Canvas, DIFFUSERS, FirstBlock, Held, TRANSFORMERS, load_held, load_vae, pack, unpack,
};
use crate::tokenize::{ClipTokenizer, T5Tokenizer};
use crate::trace::Trace;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{Checkpoint, Config, Evict, Precision, Reloadable};

/// T5 tokens that the released models were trained with: guided ones (dev) and the distilled one (schnell).
const TOKENS_GUIDED: usize = 512;
const TOKENS_SCHNELL: usize = 256;

/// Thresholds of first-block caching: what diffusers takes where nobody says more, and twice as much.
const REGULAR: f64 = 0.05;
const HIGH: f64 = 0.1;

pub(super) const FAMILY: Family = Family {
    class: "FluxPipeline",
    accepts: &[
        "prompt",
        "image_url",
        "strength",
        "image_size",
        "num_inference_steps",
        "guidance_scale",
        "seed",
        "num_images",
        "max_sequence_length",
        "acceleration",
        "loras",
    ],
    steps: 28,
    guidance: 3.5,
    open: |checkpoint, precision| Ok(Box::new(Flux::load(checkpoint, precision, false)?)),
};

pub(super) const FILL: Family = Family {
    class: "FluxFillPipeline",
    accepts: &[
        "prompt",
        "image_url",
        "mask_url",
        "strength",
        "image_size",
        "num_inference_steps",
        "guidance_scale",
        "seed",
        "num_images",
        "max_sequence_length",
        "acceleration",
        "loras",
    ],
    steps: 50,
    guidance: 30.0,
    open: |checkpoint, precision| Ok(Box::new(Flux::load(checkpoint, precision, true)?)),
};

/// What LoRAs put before the names of text encoders; some call T5 the third, as in SD3.5.
const CLIP_PREFIXES: &[&str] = &["text_encoder.", "text_encoders.clip_l.transformer.", "lora_te1_", "lora_te_"];
const T5_PREFIXES: &[&str] = &["text_encoder_2.", "text_encoders.t5xxl.transformer.", "lora_te2_", "lora_te3_"];

/// A loaded FLUX.1. A clone shares everything.
#[derive(Clone)]
struct Flux {
    clip_tokenizer: Arc<ClipTokenizer>,
    t5_tokenizer: Arc<T5Tokenizer>,
    encoders: Reloadable<TextEncoders>,
    texts: stages::Texts<Texts>,
    transformer: Held<FluxTransformer>,
    vae: Arc<Vae>,
    spacing: FlowSpacing,
    device: Device,
    /// Type of latents and embeddings: the transformer's.
    dtype: DType,
    /// Whether it draws a part of a picture anew, and not a whole one.
    fills: bool,
}

/// The text encoders of a checkpoint.
struct TextEncoders {
    clip: Held<ClipText>,
    t5: Held<T5Encoder>,
}

/// What the prompts became.
#[derive(Clone)]
struct Texts {
    prompt: Text,
    negative: Option<Text>,
}

/// What one prompt became.
#[derive(Clone)]
struct Text {
    /// `[images, tokens, width]`.
    sequence: Tensor,
    /// `[images, width]`.
    pooled: Tensor,
}

impl Flux {
    fn load(checkpoint: &Checkpoint, precision: &Precision, fills: bool) -> Result<Self> {
        let transformer_file = checkpoint.config("transformer/config.json")?;
        let transformer_config = FluxConfig::read(&transformer_file)?;
        let vae_config = VaeConfig::read(&checkpoint.config("vae/config.json")?)?;
        let clip_config = ClipConfig::read(&checkpoint.config("text_encoder/config.json")?)?;
        let t5_config = T5Config::read(&checkpoint.config("text_encoder_2/config.json")?)?;
        check_fit(&transformer_file, &transformer_config, &vae_config, fills)?;
        check_texts(&transformer_file, &transformer_config, &clip_config, &t5_config)?;
        let none = |_: &str| false;
        let transformer = load_held(checkpoint, "transformer", DIFFUSERS, precision, none, move |w| {
            FluxTransformer::load(&transformer_config, w)
        })?;
        let vae = load_vae(checkpoint, &vae_config, precision)?;
        let (again, precise) = (checkpoint.clone(), precision.clone());
        let encoders = Reloadable::now(move || TextEncoders::load(&again, &precise, &clip_config, &t5_config))?;
        Ok(Self {
            clip_tokenizer: Arc::new(ClipTokenizer::load(checkpoint, "tokenizer")?),
            t5_tokenizer: Arc::new(T5Tokenizer::load(checkpoint, "tokenizer_2")?),
            encoders,
            texts: stages::Texts::default(),
            dtype: transformer.dtype(),
            transformer,
            vae: Arc::new(vae),
            spacing: FlowSpacing::read(&checkpoint.config("scheduler/scheduler_config.json")?)?,
            device: precision.device.clone(),
            fills,
        })
    }

    /// The model and its text encoders with the call's LoRAs.
    fn changed(&self, call: &Call, context: &Context<'_>) -> Result<(Self, Reloadable<TextEncoders>)> {
        if call.loras.is_empty() {
            return Ok((self.clone(), self.encoders.clone()));
        }
        let base = self.encoders.get(context.observer)?;
        let names = Some(&NAMES);
        let parts = [
            Part { folder: "transformer", weights: self.transformer.weights(), names, prefixes: lora::TRANSFORMER },
            Part { folder: "text_encoder", weights: base.clip.weights(), names: None, prefixes: CLIP_PREFIXES },
            Part { folder: "text_encoder_2", weights: base.t5.weights(), names: None, prefixes: T5_PREFIXES },
        ];
        let Some([transformer, clip, t5]) = lora::overlays(&call.loras, &parts, context)? else {
            return Ok((self.clone(), self.encoders.using(base)));
        };
        let encoders = TextEncoders { clip: base.clip.with(clip)?, t5: base.t5.with(t5)? };
        let model = Self { transformer: self.transformer.with(transformer)?, ..self.clone() };
        Ok((model, self.encoders.using(Arc::new(encoders))))
    }

    fn draw(
        &self,
        encoders: Reloadable<TextEncoders>,
        canvas: Canvas,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Vec<Pixels>> {
        let encode = || encoders.during(context.observer, |encoders| self.encode(encoders, call, context));
        let texts = self.texts.of(call, call.true_cfg > 1.0, context, encode)?;
        let latents = self.denoise(canvas, &texts, call, context)?;
        drop(texts);
        stages::decode(&self.vae, &unpack(&latents, canvas)?, context)
    }

    /// The prompt, and the negative one where true guidance needs it.
    fn encode(&self, encoders: &TextEncoders, call: &Call, context: &Context<'_>) -> Result<Texts> {
        context.observer.stage(Stage::TextEncode).check()?;
        let encode = |label, text| self.encode_text(encoders, label, text, call, context);
        let prompt = encode("prompt", &call.prompt)?;
        let negative = || encode("negative", &call.negative);
        Ok(Texts { prompt, negative: (call.true_cfg > 1.0).then(negative).transpose()? })
    }

    fn encode_text(
        &self,
        encoders: &TextEncoders,
        label: &str,
        text: &str,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Text> {
        let default = if self.transformer.config().guidance { TOKENS_GUIDED } else { TOKENS_SCHNELL };
        let length = call.text_tokens(default.min(self.t5_tokenizer.max_length), 512)?;
        let clip_ids = self.clip_tokenizer.encode(text)?;
        let t5_ids = self.t5_tokenizer.encode(text, length)?;
        let clip = encoders.clip.forward(&clip_ids)?;
        let sequence = encoders.t5.forward(&t5_ids)?;
        let parts = [
            ("tokenizer.input_ids", &stages::ids_tensor(&clip_ids)?),
            ("tokenizer_2.input_ids", &stages::ids_tensor(&t5_ids)?),
            ("text_encoder.last_hidden_state", &clip.last_hidden_state),
            ("text_encoder.pooled", &clip.pooled),
            ("text_encoder_2.last_hidden_state", &sequence),
        ];
        stages::trace_texts(context, label, &parts)?;
        let each = |states: &Tensor| stages::repeated(states, call.images, self.dtype);
        Ok(Text { sequence: each(&sequence)?, pooled: each(&clip.pooled)? })
    }

    fn denoise(&self, canvas: Canvas, texts: &Texts, call: &Call, context: &Context<'_>) -> Result<Tensor> {
        context.observer.stage(Stage::Denoise).check()?;
        let Texts { prompt: text, negative } = texts;
        let (rows, columns) = canvas.cells();
        let strength = if call.picture.is_some() { call.strength } else { 1.0 };
        let sampler = Euler::new(self.spacing.even(call.steps, rows * columns)).joined(strength);
        let (latents, condition) = self.start(canvas, &sampler, call, context)?;
        let config = self.transformer.config();
        let rotary = config.rotary(text.sequence.dim(1)?, rows, columns, &self.device)?;
        let guidance = config.guidance.then(|| canvas.per_image(call.guidance as f32, &self.device)).transpose()?;
        // one for the prompt, one for what leads away from it
        let caches = [(); 2].map(|()| self.threshold(call.acceleration).map(FirstBlock::new));
        let predict = |index: usize, timestep: f32, latents: &Tensor| -> Result<Tensor> {
            let beside = |condition: &Tensor| Tensor::cat(&[latents, condition], 2);
            let image = condition.as_ref().map_or_else(|| Ok(latents.clone()), beside)?;
            let inputs = FluxInputs {
                image: &image,
                text: &text.sequence,
                pooled: &text.pooled,
                timestep: &canvas.per_image(noise_level(timestep, self.dtype), &self.device)?,
                guidance: guidance.as_ref(),
                rotary: &rotary,
                observer: context.observer,
            };
            let given = |trace: &Trace| trace_inputs(trace, &inputs, (rows, columns));
            let velocity = stages::predicted(context, index, given, |probe| {
                self.transformer.forward(&inputs, caches[0].as_ref(), probe)
            })?;
            let Some(negative) = negative else { return Ok(velocity) };
            let inputs = FluxInputs { text: &negative.sequence, pooled: &negative.pooled, ..inputs };
            let away = self.transformer.forward(&inputs, caches[1].as_ref(), None)?;
            stages::guided(&velocity, &away, call.true_cfg)
        };
        let preview = |packed: &Tensor| stages::preview(&self.vae, &unpack(&packed.narrow(0, 0, 1)?, canvas)?);
        let latents = stages::walk(pack(&latents)?, sampler, context, &preview, &predict)?;
        if let Some(cache) = &caches[0] {
            let (reused, steps) = cache.reused();
            context.observer.remark(&match reused {
                0 => "acceleration: no step was alike enough to take work over".to_owned(),
                _ => format!("acceleration: {reused} of {steps} steps took over work from the step before"),
            });
        }
        Ok(latents)
    }

    /// The change of the first block up to which a step takes over the rest, in this model and at this acceleration. The
    /// distilled model has few steps, each of which counts.
    fn threshold(&self, acceleration: Acceleration) -> Option<f64> {
        match acceleration {
            Acceleration::Regular if self.transformer.config().guidance => Some(REGULAR),
            Acceleration::None | Acceleration::Regular => None,
            Acceleration::High => Some(HIGH),
        }
    }

    /// Latents to start from, and what goes in beside them at every step.
    fn start(
        &self,
        canvas: Canvas,
        sampler: &Euler,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        if self.fills {
            let start = self.fill_start(canvas, sampler, call, context)?;
            return Ok((start.latents, Some(start.condition)));
        }
        if let Some(picture) = &call.picture {
            return Ok((self.change_start(picture, canvas, sampler, call, context)?, None));
        }
        let noise = canvas.noise(call.seed)?;
        stages::begin(context, &noise, sampler.schedule())?;
        Ok((noise.to_dtype(self.dtype)?.to_device(&self.device)?, None))
    }
}

impl Pipeline for Flux {
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        call.check()?;
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        let (model, encoders) = self.changed(call, context)?;
        model.draw(encoders, canvas, call, context)
    }

    fn working(&self, call: &Call) -> Result<u64> {
        let canvas = Canvas::of(call, self.sizes(), self.vae.config())?;
        Ok(stages::working(canvas, self.transformer.config().width(), 1, self.dtype, &self.vae))
    }

    fn sizes(&self) -> Sizes {
        Sizes { multiple: 2 * self.vae.config().factor(), longest: None }
    }

    /// T5 is asked: CLIP's tokenizer cuts words that it lacks into bytes, and knows every byte.
    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>> {
        self.t5_tokenizer.unknown_words(prompt)
    }

    fn encoders(&self) -> Option<&dyn Evict> {
        Some(&self.encoders)
    }
}

impl Bytes for Texts {
    fn bytes(&self) -> usize {
        self.prompt.bytes() + self.negative.bytes()
    }
}

impl Bytes for Text {
    fn bytes(&self) -> usize {
        self.sequence.bytes() + self.pooled.bytes()
    }
}

impl TextEncoders {
    fn load(checkpoint: &Checkpoint, precision: &Precision, clip: &ClipConfig, t5: &T5Config) -> Result<Self> {
        let (clip, t5) = (clip.clone(), t5.clone());
        let clip = load_held(checkpoint, "text_encoder", TRANSFORMERS, precision, ClipText::ignores, move |w| {
            ClipText::load(&clip, w)
        })?;
        // T5-XXL overflows in float16; bfloat16 has its range
        let wide = stages::instead_of_half(precision, DType::BF16);
        let t5 = load_held(checkpoint, "text_encoder_2", TRANSFORMERS, &wide, T5Encoder::ignores, move |w| {
            T5Encoder::load(&t5, w)
        })?;
        Ok(Self { clip, t5 })
    }
}

/// Makes sure that transformer and autoencoder speak of the same latents.
fn check_fit(file: &Config, transformer: &FluxConfig, vae: &VaeConfig, fills: bool) -> Result<()> {
    let packed = 4 * vae.latent_channels;
    let (inputs, what) = if fills {
        let mask = 4 * vae.factor() * vae.factor();
        (2 * packed + mask, "eight times the latent channels and a mask (fill)")
    } else {
        (packed, "four times the latent channels (text to image)")
    };
    file.fits(&[
        ("in_channels", transformer.in_channels, inputs, what),
        ("out_channels", transformer.out_channels, packed, "four times the latent channels"),
    ])
}

/// Makes sure that transformer and text encoders speak of the same widths.
fn check_texts(file: &Config, transformer: &FluxConfig, clip: &ClipConfig, t5: &T5Config) -> Result<()> {
    file.fits(&[
        ("pooled_projection_dim", transformer.pooled_width, clip.hidden, "the width of text_encoder"),
        ("joint_attention_dim", transformer.text_width, t5.d_model, "the width of text_encoder_2"),
    ])
}

/// A timestep as σ, rounded where diffusers rounds it: the timestep to the model's type, then its thousandth.
fn noise_level(timestep: f32, dtype: DType) -> f32 {
    let round = |x: f32| match dtype {
        DType::BF16 => half::bf16::from_f32(x).to_f32(),
        DType::F16 => half::f16::from_f32(x).to_f32(),
        _ => x,
    };
    round(round(timestep) / 1000.0)
}

fn trace_inputs(trace: &Trace, inputs: &FluxInputs<'_>, (rows, columns): (usize, usize)) -> Result<()> {
    let grid: Vec<f32> = (0..rows * columns).flat_map(|i| [0.0, (i / columns) as f32, (i % columns) as f32]).collect();
    let parts = [
        ("hidden_states", inputs.image),
        ("encoder_hidden_states", inputs.text),
        ("pooled_projections", inputs.pooled),
        ("timestep", inputs.timestep),
        ("img_ids", &Tensor::from_vec(grid, (rows * columns, 3), &Device::Cpu)?),
        ("txt_ids", &Tensor::zeros((inputs.text.dim(1)?, 3), DType::F32, &Device::Cpu)?),
    ];
    stages::trace_input(trace, &parts)?;
    inputs.guidance.map_or(Ok(()), |guidance| stages::trace_input(trace, &[("guidance", guidance)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_levels_are_rounded_twice_in_reduced_types() {
        assert_eq!(noise_level(826.25885, DType::F32), 0.826_258_84);
        // 826.26 becomes 828, 0.828 becomes 0.828125
        assert_eq!(noise_level(826.25885, DType::BF16), 0.828_125);
    }
}
