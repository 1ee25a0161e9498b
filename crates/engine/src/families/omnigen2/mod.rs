//! OmniGen2, as its authors' `OmniGen2Pipeline` runs it; diffusers has none. It draws from text, and from pictures that the
//! text speaks of.

mod blocks;
mod config;
mod drawing;
mod guidance;
mod measures;
mod transformer;

use candle_core::{DType, Device, Tensor};

pub use config::OmniGen2Config;
pub use transformer::OmniGen2Transformer;

use super::{Context, Family, Pipeline, Probe};
use crate::call::{Call, Sizes, Solver};
use crate::encoders::{Llama, LlamaConfig};
use crate::error::{Error, Result};
use crate::observer::Stage;
use crate::pixels::Pixels;
use crate::rng::Generator;
use crate::samplers::{DpmSolver, Euler, RisingSpacing};
use crate::stages::{self, DIFFUSERS, TRANSFORMERS, load, load_vae};
use crate::tokenize::QwenTokenizer;
use crate::vae::{Vae, VaeConfig};
use crate::weights::{Checkpoint, Config, Evict, Precision, Reloadable};
use drawing::{Away, Drawing};
use guidance::{Scales, is_led};
use measures::Measures;
use transformer::{PICTURES, Watched};

/// Tokens of a text with what is around it.
const TOKENS: usize = 1024;
/// What the model was trained to be told before every prompt.
const SYSTEM: &str = "You are a helpful assistant that generates high-quality images based on user instructions.";

pub(super) const FAMILY: Family = Family {
    class: "OmniGen2Pipeline",
    accepts: &[
        "prompt",
        "input_image_urls",
        "image_size",
        "num_inference_steps",
        "seed",
        "text_guidance_scale",
        "image_guidance_scale",
        "negative_prompt",
        "cfg_range_start",
        "cfg_range_end",
        "scheduler",
        "num_images",
        "max_sequence_length",
    ],
    // the authors' own defaults
    steps: 28,
    guidance: 4.0,
    open: |checkpoint, precision| Ok(Box::new(OmniGen2::load(checkpoint, precision)?)),
};

/// A loaded OmniGen2.
struct OmniGen2 {
    tokenizer: QwenTokenizer,
    reader: Reloadable<Llama>,
    /// Those of the prompt and of the negative one.
    texts: stages::Texts<(Tensor, Option<Tensor>)>,
    transformer: OmniGen2Transformer,
    vae: Vae,
    spacing: RisingSpacing,
    device: Device,
    /// Type of latents and embeddings: the transformer's.
    dtype: DType,
}

/// What the texts became, each `[1, tokens, width]`.
struct Texts {
    prompt: Tensor,
    /// Where it leads away from something, how far.
    negative: Option<(Scales, Tensor)>,
}

impl OmniGen2 {
    fn load(checkpoint: &Checkpoint, precision: &Precision) -> Result<Self> {
        let transformer_file = checkpoint.config("transformer/config.json")?;
        let transformer_config = OmniGen2Config::read(&transformer_file)?;
        let vae_config = VaeConfig::read(&checkpoint.config("vae/config.json")?)?;
        let reader_config = LlamaConfig::read_qwen(&checkpoint.config("mllm/config.json")?)?;
        check_fit(&transformer_file, &transformer_config, &vae_config, &reader_config)?;
        // its authors warn of float16; bfloat16 is what it was made for
        let wide = stages::instead_of_half(precision, DType::BF16);
        let none = |_: &str| false;
        let transformer = load(checkpoint, "transformer", DIFFUSERS, &wide, none, |w| {
            OmniGen2Transformer::load(&transformer_config, w)
        })?;
        let again = checkpoint.clone();
        let reader = Reloadable::now(move || {
            load(&again, "mllm", TRANSFORMERS, &wide, Llama::ignores_sight, |w| Llama::load(&reader_config, w))
        })?;
        Ok(Self {
            tokenizer: QwenTokenizer::load(checkpoint, "processor")?,
            reader,
            texts: stages::Texts::default(),
            dtype: transformer.dtype(),
            transformer,
            vae: load_vae(checkpoint, &vae_config, precision)?,
            spacing: RisingSpacing::read(&checkpoint.config("scheduler/scheduler_config.json")?)?,
            device: precision.device.clone(),
        })
    }

    fn encode(&self, scales: Option<Scales>, call: &Call, context: &Context<'_>) -> Result<Texts> {
        let read = |reader: &Llama| {
            context.observer.stage(Stage::TextEncode).check()?;
            let prompt = self.encode_text(reader, "prompt", &call.prompt, call, context)?;
            context.observer.ask().check()?;
            let negative = || self.encode_text(reader, "negative", &call.negative, call, context);
            Ok((prompt, scales.is_some().then(negative).transpose()?))
        };
        let read = || self.reader.clone().during(context.observer, read);
        let (prompt, negative) = self.texts.of(call, scales.is_some(), context, read)?;
        Ok(Texts { prompt, negative: scales.zip(negative) })
    }

    fn encode_text(
        &self,
        reader: &Llama,
        label: &str,
        text: &str,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Tensor> {
        let ids = self.tokenizer.encode(&spoken(text), call.text_tokens(TOKENS, TOKENS)?)?;
        let states = reader.last_state(&ids)?;
        let parts = [("tokenizer.input_ids", &stages::ids_tensor(&ids)?), ("mllm.last_hidden_state", &states)];
        stages::trace_texts(context, label, &parts)?;
        Ok(states)
    }

    /// How far the call is led, where it is at any step.
    fn scales(call: &Call, context: &Context<'_>) -> Option<Scales> {
        let scales = Scales::of(call)?;
        if (0..call.steps).any(|index| is_led(index, call)) {
            return Some(scales);
        }
        let [from, to] = call.guided_steps;
        context.observer.warn(&format!(
            "no step lies from cfg_range_start {from} to cfg_range_end {to}: nothing is guided, and the negative prompt has \
             no effect"
        ));
        None
    }

    /// The given pictures as latents. The reference takes the noise of their samples from a generator that no seed of a call
    /// fixes; here it is the next seed's.
    fn pictures(&self, measures: &Measures, call: &Call, context: &Context<'_>) -> Result<Vec<Tensor>> {
        let (factor, channels) = (self.vae.config().factor(), self.vae.config().latent_channels);
        let mut generator = Generator::new(call.seed.wrapping_add(1));
        let mut latents = Vec::with_capacity(call.pictures.len());
        for (i, (picture, (width, height))) in call.pictures.iter().zip(&measures.pictures).enumerate() {
            context.observer.ask().check()?;
            let noise = generator.noise(&[1, channels, height / factor, width / factor])?;
            let unit = picture.resized(*width, *height).to_unit()?;
            let seen = stages::sampled(&self.vae, &unit, &noise, &self.device, i, context)?;
            if let Some(trace) = context.trace {
                trace.put(&format!("noise.posterior{i}"), &noise)?;
                trace.put(&format!("input.image{i}_latents"), &seen)?;
            }
            latents.push(seen.to_dtype(self.dtype)?);
        }
        Ok(latents)
    }

    fn denoise(&self, measures: &Measures, texts: &Texts, call: &Call, context: &Context<'_>) -> Result<Tensor> {
        context.observer.stage(Stage::Denoise).check()?;
        let canvas = measures.canvas;
        let places = self.transformer.places(canvas, &self.pictures(measures, call, context)?)?;
        let probe = stages::blocks(context, 0);
        let read = |states: &Tensor, sees_pictures, probe| {
            let watched = Watched { observer: context.observer, probe };
            self.transformer.reading(states, &places, sees_pictures, watched)
        };
        let prompt = read(&texts.prompt, true, probe.as_ref().map(|probe| probe as Probe<'_>))?;
        let away = |(scales, states): &(Scales, Tensor)| -> Result<Away> {
            let with = |scale| Ok::<_, Error>((scale, read(states, true, None)?));
            let (text, without) = (scales.text, read(states, false, None)?);
            Ok(Away { text, without, with: scales.pictures.map(with).transpose()? })
        };
        let away = texts.negative.as_ref().map(away).transpose()?;
        let noise = canvas.noise(call.seed)?;
        let schedule = self.spacing.levels(call.steps, canvas.height * canvas.width);
        stages::begin(context, &noise, &schedule)?;
        let latents = noise.to_dtype(self.dtype)?.to_device(&self.device)?;
        let (transformer, vae) = (&self.transformer, &self.vae);
        let drawing = Drawing { transformer, vae, canvas, places, prompt, away, call, context };
        match call.solver {
            Solver::Euler => drawing.walk(latents, Euler::new(schedule)),
            Solver::Dpm => drawing.walk(latents, DpmSolver::new(schedule)),
        }
    }
}

impl Pipeline for OmniGen2 {
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        call.check()?;
        if call.pictures.len() > PICTURES {
            let problem = format!("must be at most {PICTURES} pictures, got {}", call.pictures.len());
            return Err(Error::Parameter { name: "input_image_urls", problem });
        }
        let measures = Measures::of(call, self.sizes().multiple, self.vae.config())?;
        let texts = self.encode(Self::scales(call, context), call, context)?;
        let latents = self.denoise(&measures, &texts, call, context)?;
        drop(texts);
        stages::decode_to(&self.vae, &latents, Some(measures.result), context)
    }

    fn working(&self, call: &Call) -> Result<u64> {
        let canvas = Measures::of(call, self.sizes().multiple, self.vae.config())?.canvas;
        Ok(stages::working(canvas, self.transformer.config().width, 1, self.dtype, &self.vae))
    }

    /// Of what is drawn; results have the size that is asked for.
    fn sizes(&self) -> Sizes {
        Sizes { multiple: 2 * self.vae.config().factor(), longest: None }
    }

    /// Its tokenizer cuts words that it lacks into bytes, and knows every byte.
    fn unknown_words(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn encoders(&self) -> Option<&dyn Evict> {
        Some(&self.reader)
    }
}

/// A prompt as the model hears it: something that a user says.
fn spoken(prompt: &str) -> String {
    let [begin, end] = QwenTokenizer::TURN;
    format!("{begin}system\n{SYSTEM}{end}\n{begin}user\n{prompt}{end}\n")
}

/// Makes sure that the components speak of the same widths.
fn check_fit(file: &Config, transformer: &OmniGen2Config, vae: &VaeConfig, reader: &LlamaConfig) -> Result<()> {
    file.fits(&[
        ("in_channels", transformer.channels, vae.latent_channels, "the latent channels"),
        ("text_feat_dim", transformer.text_width, reader.hidden, "the width of mllm"),
    ])
}
