//! FLUX.1 text to image, as diffusers' `FluxPipeline` runs it.

use candle_core::{DType, Device, Tensor};

use super::{Context, Pipeline};
use crate::checkpoint::{Checkpoint, Config, Precision, Weights};
use crate::encoders::{ClipConfig, ClipText, T5Config, T5Encoder};
use crate::error::{Error, Result};
use crate::models::flux::{FluxConfig, FluxInputs, FluxTransformer};
use crate::observer::{Stage, Step};
use crate::params::Params;
use crate::pixels::Pixels;
use crate::rng::Generator;
use crate::samplers::{FlowEuler, FlowEulerConfig};
use crate::tokenize::{ClipTokenizer, T5Tokenizer};
use crate::vae::{Halves, Tiling, Vae, VaeConfig};

/// T5 tokens that the released models were trained with: guided ones (dev) and the distilled one (schnell).
const TOKENS_GUIDED: usize = 512;
const TOKENS_SCHNELL: usize = 256;
/// Side of the latents that previews are decoded from.
const PREVIEW: usize = 16;

/// A loaded FLUX.1.
pub(super) struct Flux {
    clip_tokenizer: ClipTokenizer,
    t5_tokenizer: T5Tokenizer,
    clip: ClipText,
    t5: T5Encoder,
    transformer: FluxTransformer,
    vae: Vae,
    scheduler: FlowEuler,
    device: Device,
    /// Type of latents and embeddings: the transformer's.
    dtype: DType,
}

/// The picture's measures at each stage.
#[derive(Clone, Copy)]
struct Grid {
    /// Latent rows and columns.
    height: usize,
    width: usize,
    channels: usize,
    images: usize,
}

/// What the prompts became.
struct Texts {
    prompt: Text,
    negative: Option<Text>,
}

/// What one prompt became.
struct Text {
    /// `[images, tokens, width]`.
    sequence: Tensor,
    /// `[images, width]`.
    pooled: Tensor,
}

impl Flux {
    pub(super) fn load(checkpoint: &Checkpoint, precision: &Precision) -> Result<Self> {
        let Small { configs, clip_tokenizer, t5_tokenizer, scheduler } = Small::read(checkpoint)?;
        let transformer = load(
            checkpoint,
            "transformer",
            DIFFUSERS,
            precision,
            |_| false,
            |w| FluxTransformer::load(&configs.transformer, w),
        )?;
        let vae =
            load(checkpoint, "vae", DIFFUSERS, precision, |_| false, |w| Vae::load(&configs.vae, w, Halves::Decoder))?;
        let clip = load(checkpoint, "text_encoder", TRANSFORMERS, precision, ClipText::ignores, |w| {
            ClipText::load(&configs.clip, w)
        })?;
        let t5 = load(checkpoint, "text_encoder_2", TRANSFORMERS, &t5_precision(precision), T5Encoder::ignores, |w| {
            T5Encoder::load(&configs.t5, w)
        })?;
        Ok(Self {
            clip_tokenizer,
            t5_tokenizer,
            clip,
            t5,
            dtype: transformer.dtype(),
            transformer,
            vae,
            scheduler,
            device: precision.device.clone(),
        })
    }

    /// The prompt, and the empty prompt where true guidance needs it.
    fn encode(&self, params: &Params, context: &Context<'_>) -> Result<Texts> {
        context.observer.stage(Stage::TextEncode).check()?;
        let prompt = self.encode_text("prompt", &params.prompt, params, context)?;
        let negative = || self.encode_text("negative", "", params, context);
        Ok(Texts { prompt, negative: (params.true_cfg > 1.0).then(negative).transpose()? })
    }

    fn encode_text(&self, label: &str, text: &str, params: &Params, context: &Context<'_>) -> Result<Text> {
        let default = if self.transformer.config().guidance { TOKENS_GUIDED } else { TOKENS_SCHNELL };
        let length = params.max_sequence_length.unwrap_or(default.min(self.t5_tokenizer.max_length));
        if length == 0 || length > 512 {
            let problem = format!("must be 1 to 512, got {length}");
            return Err(Error::Parameter { name: "max_sequence_length", problem });
        }
        let clip_ids = self.clip_tokenizer.encode(text)?;
        let t5_ids = self.t5_tokenizer.encode(text, length)?;
        let clip = self.clip.forward(&clip_ids)?;
        let sequence = self.t5.forward(&t5_ids)?;
        if let Some(trace) = context.trace {
            let put = |name: &str, tensor: &Tensor| trace.put(&format!("{label}.{name}"), tensor);
            put("tokenizer.input_ids", &ids_tensor(&clip_ids)?)?;
            put("tokenizer_2.input_ids", &ids_tensor(&t5_ids)?)?;
            put("text_encoder.last_hidden_state", &clip.last_hidden_state)?;
            put("text_encoder.pooled", &clip.pooled)?;
            put("text_encoder_2.last_hidden_state", &sequence)?;
        }
        let each = |t: &Tensor| -> Result<Tensor> { Ok(t.to_dtype(self.dtype)?.repeat(copies(t, params.images))?) };
        Ok(Text { sequence: each(&sequence)?, pooled: each(&clip.pooled)? })
    }

    fn denoise(&self, grid: Grid, texts: &Texts, params: &Params, context: &Context<'_>) -> Result<Tensor> {
        context.observer.stage(Stage::Denoise).check()?;
        let Texts { prompt: text, negative } = texts;
        let (rows, columns) = (grid.height / 2, grid.width / 2);
        let noise = Generator::new(params.seed).noise(&[grid.images, grid.channels, grid.height, grid.width])?;
        let schedule = self.scheduler.schedule(params.steps, rows * columns);
        if let Some(trace) = context.trace {
            trace.put("noise.first_draw", &noise)?;
            trace.put("schedule.sigmas", &Tensor::new(&schedule.sigmas[..], &Device::Cpu)?)?;
            trace.put("schedule.timesteps", &Tensor::new(&schedule.timesteps[..], &Device::Cpu)?)?;
        }
        let rotary = self.transformer.config().rotary(text.sequence.dim(1)?, rows, columns, &self.device)?;
        let guidance = self.transformer.config().guidance.then(|| self.per_image(grid, params.guidance as f32));
        let guidance = guidance.transpose()?;
        let mut latents = pack(&noise.to_dtype(self.dtype)?.to_device(&self.device)?)?;
        for index in 0..params.steps {
            let inputs = FluxInputs {
                image: &latents,
                text: &text.sequence,
                pooled: &text.pooled,
                timestep: &self.per_image(grid, noise_level(schedule.timesteps[index], self.dtype))?,
                guidance: guidance.as_ref(),
                rotary: &rotary,
            };
            let mut velocity = self.predict(&inputs, index, (rows, columns), context)?;
            if let Some(negative) = negative {
                let inputs = FluxInputs { text: &negative.sequence, pooled: &negative.pooled, ..inputs };
                velocity = guided(&velocity, &self.transformer.forward(&inputs, None)?, params.true_cfg)?;
            }
            let destination = schedule.destination(index, &latents, &velocity)?;
            latents = schedule.step(index, &latents, &velocity)?;
            if let Some(trace) = context.trace {
                trace.put(&format!("step{index}.latents"), &latents)?;
            }
            let preview = || self.preview(&destination, grid);
            context.observer.step(&Step::new(index + 1, params.steps, &preview)).check()?;
        }
        Ok(latents)
    }

    fn predict(
        &self,
        inputs: &FluxInputs<'_>,
        index: usize,
        grid: (usize, usize),
        context: &Context<'_>,
    ) -> Result<Tensor> {
        let Some(trace) = context.trace.filter(|_| index == 0) else {
            return self.transformer.forward(inputs, None);
        };
        trace_inputs(trace, inputs, grid)?;
        let probe = |name: &str, text: &Tensor, image: &Tensor| -> Result<()> {
            trace.put(&format!("step0.{name}.out.0"), text)?;
            trace.put(&format!("step0.{name}.out.1"), image)
        };
        let velocity = self.transformer.forward(inputs, trace.wants_blocks().then_some(&probe as _))?;
        trace.put("step0.transformer.out", &velocity)?;
        Ok(velocity)
    }

    fn decode(&self, latents: &Tensor, grid: Grid, context: &Context<'_>) -> Result<Vec<Pixels>> {
        context.observer.stage(Stage::Decode).check()?;
        let z = self.vae.unscale(&unpack(latents, grid)?)?;
        let config = self.vae.config();
        let image = self.vae.decode(&z, &Tiling::for_size(config.sample_size, config.factor()))?;
        let pixels = Pixels::from_batch(&image)?;
        if let Some(trace) = context.trace {
            trace.put("vae.decode.in", &z)?;
            trace.put("vae.decode.out", &image)?;
            trace.put("image.uint8_nhwc", &Pixels::to_tensor(&pixels)?)?;
        }
        Ok(pixels)
    }

    /// The first picture of a batch, small: its clean estimate, pooled to a few latents, through the real decoder.
    fn preview(&self, packed: &Tensor, grid: Grid) -> Result<Pixels> {
        let z = unpack(&packed.narrow(0, 0, 1)?, Grid { images: 1, ..grid })?;
        let pool = grid.height.max(grid.width).div_ceil(PREVIEW);
        let z = if pool > 1 && grid.height.min(grid.width) >= pool {
            z.to_dtype(DType::F32)?.avg_pool2d(pool)?.to_dtype(self.dtype)?
        } else {
            z
        };
        let image = self.vae.decode(&self.vae.unscale(&z)?, &Tiling { above: usize::MAX, tile: 8, factor: 8 })?;
        Pixels::from_batch(&image)?.pop().ok_or(Error::Cancelled)
    }

    /// One number for each picture of the batch.
    fn per_image(&self, grid: Grid, value: f32) -> Result<Tensor> {
        Ok(Tensor::full(value, grid.images, &self.device)?)
    }
}

impl Pipeline for Flux {
    fn generate(&self, params: &Params, context: &Context<'_>) -> Result<Vec<Pixels>> {
        params.check()?;
        let (width, height) = params.size(self.size_multiple())?;
        let factor = self.vae.config().factor();
        let grid = Grid {
            height: height / factor,
            width: width / factor,
            channels: self.vae.config().latent_channels,
            images: params.images,
        };
        let texts = self.encode(params, context)?;
        let latents = self.denoise(grid, &texts, params, context)?;
        drop(texts);
        self.decode(&latents, grid, context)
    }

    fn size_multiple(&self) -> usize {
        2 * self.vae.config().factor()
    }

    /// T5 is asked: CLIP's tokenizer cuts words that it lacks into bytes, and knows every byte.
    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>> {
        self.t5_tokenizer.unknown_words(prompt)
    }
}

/// What a checkpoint has beside its tensors.
struct Small {
    configs: Configs,
    clip_tokenizer: ClipTokenizer,
    t5_tokenizer: T5Tokenizer,
    scheduler: FlowEuler,
}

/// The components' configurations, which fit together.
struct Configs {
    transformer: FluxConfig,
    vae: VaeConfig,
    clip: ClipConfig,
    t5: T5Config,
}

impl Small {
    fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let file = checkpoint.config("transformer/config.json")?;
        let configs = Configs {
            transformer: FluxConfig::read(&file)?,
            vae: VaeConfig::read(&checkpoint.config("vae/config.json")?)?,
            clip: ClipConfig::read(&checkpoint.config("text_encoder/config.json")?)?,
            t5: T5Config::read(&checkpoint.config("text_encoder_2/config.json")?)?,
        };
        check_fit(&file, &configs.transformer, &configs.vae, &configs.clip, &configs.t5)?;
        Ok(Self {
            configs,
            clip_tokenizer: ClipTokenizer::load(checkpoint, "tokenizer")?,
            t5_tokenizer: T5Tokenizer::load(checkpoint, "tokenizer_2")?,
            scheduler: FlowEuler::new(FlowEulerConfig::read(&checkpoint.config("scheduler/scheduler_config.json")?)?),
        })
    }
}

/// Reads everything but the tensors: what is small as a whole, of the weights' files the headers.
pub(super) fn examine(checkpoint: &Checkpoint) -> Result<()> {
    Small::read(checkpoint)?;
    let precision = Precision { device: Device::Cpu, dtype: None };
    for (folder, base) in [
        ("transformer", DIFFUSERS),
        ("vae", DIFFUSERS),
        ("text_encoder", TRANSFORMERS),
        ("text_encoder_2", TRANSFORMERS),
    ] {
        checkpoint.weights(folder, base, &precision)?;
    }
    Ok(())
}

/// Base name of a component's weights: diffusers' own models and those of transformers.
const DIFFUSERS: &str = "diffusion_pytorch_model";
const TRANSFORMERS: &str = "model";

/// Loads a component and makes sure that its files hold nothing else.
fn load<T>(
    checkpoint: &Checkpoint,
    folder: &str,
    base: &str,
    precision: &Precision,
    ignores: impl Fn(&str) -> bool,
    build: impl FnOnce(&Weights) -> Result<T>,
) -> Result<T> {
    let weights = checkpoint.weights(folder, base, precision)?;
    let component = build(&weights)?;
    weights.finish(ignores)?;
    Ok(component)
}

/// Makes sure that the components speak of the same widths.
fn check_fit(file: &Config, transformer: &FluxConfig, vae: &VaeConfig, clip: &ClipConfig, t5: &T5Config) -> Result<()> {
    let packed = 4 * vae.latent_channels;
    for (key, value, expected, what) in [
        ("in_channels", transformer.in_channels, packed, "four times the latent channels (text to image)"),
        ("out_channels", transformer.out_channels, packed, "four times the latent channels"),
        ("pooled_projection_dim", transformer.pooled_width, clip.hidden, "the width of text_encoder"),
        ("joint_attention_dim", transformer.text_width, t5.d_model, "the width of text_encoder_2"),
    ] {
        if value != expected {
            return Err(file.unsupported(key, value, &format!("{expected}, {what}")));
        }
    }
    Ok(())
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

/// T5-XXL overflows in float16; bfloat16 has its range.
fn t5_precision(precision: &Precision) -> Precision {
    match precision.dtype {
        Some(DType::F16) => Precision { dtype: Some(DType::BF16), ..precision.clone() },
        _ => precision.clone(),
    }
}

/// True guidance: away from what the empty prompt would draw.
fn guided(prompt: &Tensor, negative: &Tensor, scale: f64) -> Result<Tensor> {
    Ok((negative + ((prompt - negative)? * scale)?)?)
}

fn copies(t: &Tensor, images: usize) -> Vec<usize> {
    let mut dims = vec![1; t.rank()];
    dims[0] = images;
    dims
}

fn ids_tensor(ids: &[u32]) -> Result<Tensor> {
    let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
    let count = ids.len();
    Ok(Tensor::from_vec(ids, (1, count), &Device::Cpu)?)
}

/// `[batch, channels, h, w]` to `[batch, (h/2)(w/2), 4 · channels]`: features ordered channel, row, column.
fn pack(latents: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = latents.dims4()?;
    let cells = latents.reshape(&[batch, channels, height / 2, 2, width / 2, 2])?;
    let tokens = cells.permute(vec![0, 2, 4, 1, 3, 5])?;
    Ok(tokens.reshape((batch, height * width / 4, 4 * channels))?)
}

/// The inverse of [`pack`].
fn unpack(tokens: &Tensor, grid: Grid) -> Result<Tensor> {
    let Grid { height, width, channels, images } = grid;
    let cells = tokens.reshape(&[images, height / 2, width / 2, channels, 2, 2])?;
    let latents = cells.permute(vec![0, 3, 1, 4, 2, 5])?;
    Ok(latents.reshape((images, channels, height, width))?)
}

fn trace_inputs(trace: &crate::trace::Trace, inputs: &FluxInputs<'_>, (rows, columns): (usize, usize)) -> Result<()> {
    let put = |name: &str, tensor: &Tensor| trace.put(&format!("step0.transformer.in.{name}"), tensor);
    put("hidden_states", inputs.image)?;
    put("encoder_hidden_states", inputs.text)?;
    put("pooled_projections", inputs.pooled)?;
    put("timestep", inputs.timestep)?;
    if let Some(guidance) = inputs.guidance {
        put("guidance", guidance)?;
    }
    let grid: Vec<f32> = (0..rows * columns).flat_map(|i| [0.0, (i / columns) as f32, (i % columns) as f32]).collect();
    put("img_ids", &Tensor::from_vec(grid, (rows * columns, 3), &Device::Cpu)?)?;
    put("txt_ids", &Tensor::zeros((inputs.text.dim(1)?, 3), DType::F32, &Device::Cpu)?)
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

    #[test]
    fn packing_orders_channel_row_column_and_can_be_undone() -> Result<()> {
        let x = Tensor::arange(0f32, 32.0, &Device::Cpu)?.reshape((1, 2, 4, 4))?;
        let packed = pack(&x)?;
        assert_eq!(packed.dims(), [1, 4, 8]);
        assert_eq!(packed.get(0)?.get(1)?.to_vec1::<f32>()?, [2.0, 3.0, 6.0, 7.0, 18.0, 19.0, 22.0, 23.0]);
        let grid = Grid { height: 4, width: 4, channels: 2, images: 1 };
        assert_eq!(unpack(&packed, grid)?.flatten_all()?.to_vec1::<f32>()?, x.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }
}
