//! Four text encoders: both CLIPs for the pooled text, T5 and all layers of Llama for the blocks.

use candle_core::{DType, Device, Tensor};

use super::brought::Brought;
use super::config::HiDreamConfig;
use crate::call::Call;
use crate::encoders::{ClipConfig, ClipText, Llama, LlamaConfig, T5Config, T5Encoder};
use crate::error::Result;
use crate::families::Context;
use crate::stages::{self, TRANSFORMERS, load};
use crate::tokenize::{ClipTokenizer, LlamaTokenizer, T5Tokenizer};
use crate::weights::{Checkpoint, Config, Precision};

/// Tokens of every encoder, and the most that callers may ask for.
const TOKENS: usize = 128;
const MOST_TOKENS: usize = 512;
/// Tokens of the CLIPs at most: those of the shorter table.
const CLIP_TOKENS: usize = 218;

/// What a prompt became, as a batch of one.
pub(super) struct Text {
    /// `[1, tokens, width]`.
    pub(super) t5: Tensor,
    /// Of every layer, each `[1, tokens, width]`.
    pub(super) llama: Vec<Tensor>,
    /// Both CLIPs': `[1, width]`.
    pub(super) pooled: Tensor,
}

/// The tokenizers of a checkpoint.
pub(super) struct Tokenizers {
    clip_l: ClipTokenizer,
    clip_g: ClipTokenizer,
    t5: T5Tokenizer,
    llama: LlamaTokenizer,
}

/// The encoders of a checkpoint: half of its memory, and idle while it draws. Nothing else holds their weights.
pub(super) struct TextEncoders {
    clip_l: ClipText,
    clip_g: ClipText,
    t5: T5Encoder,
    llama: Llama,
}

impl Tokenizers {
    pub(super) fn load(checkpoint: &Checkpoint, brought: &Brought) -> Result<Self> {
        Ok(Self {
            clip_l: ClipTokenizer::load(checkpoint, "tokenizer")?,
            clip_g: ClipTokenizer::load(checkpoint, "tokenizer_2")?,
            t5: T5Tokenizer::load(checkpoint, "tokenizer_3")?,
            llama: LlamaTokenizer::load(&brought.checkpoint, brought.tokenizer)?,
        })
    }

    /// T5 is asked: the other tokenizers cut words that they lack into bytes, and know every byte.
    pub(super) fn unknown_words(&self, text: &str) -> Result<Vec<String>> {
        self.t5.unknown_words(text)
    }
}

impl TextEncoders {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        brought: &Brought,
        precision: &Precision,
        file: &Config,
        transformer: &HiDreamConfig,
    ) -> Result<Self> {
        let (clip_l, first) = load_clip(checkpoint, precision, "text_encoder")?;
        let (clip_g, second) = load_clip(checkpoint, precision, "text_encoder_2")?;
        let pooled = first + second;
        if transformer.pooled_width != pooled {
            let wanted = format!("{pooled}, the projections of text_encoder and text_encoder_2 together");
            return Err(file.unsupported("text_emb_dim", transformer.pooled_width, &wanted));
        }
        let t5_config = T5Config::read(&checkpoint.config("text_encoder_3/config.json")?)?;
        let Brought { checkpoint: other, weights, .. } = brought;
        let llama_config = LlamaConfig::read(&other.config(&format!("{weights}/config.json"))?)?;
        check_fit(file, transformer, &t5_config, &llama_config)?;
        // both overflow in float16; bfloat16 has their range
        let wide = stages::instead_of_half(precision, DType::BF16);
        let t5 = load(checkpoint, "text_encoder_3", TRANSFORMERS, &wide, T5Encoder::ignores, |w| {
            T5Encoder::load(&t5_config, w)
        })?;
        let llama = load(other, weights, TRANSFORMERS, &wide, Llama::ignores, |w| Llama::load(&llama_config, w))?;
        Ok(Self { clip_l, clip_g, t5, llama })
    }

    /// One text.
    pub(super) fn encode(
        &self,
        tokenizers: &Tokenizers,
        label: &str,
        text: &str,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Text> {
        let length = call.text_tokens(TOKENS, MOST_TOKENS)?;
        let clip_ids = |tokenizer: &ClipTokenizer| tokenizer.encode_to(text, length.min(CLIP_TOKENS));
        let ids = clip_ids(&tokenizers.clip_l)?;
        trace_ids(context, &format!("{label}.tokenizer"), &ids, None)?;
        let l = self.clip_l.forward(&ids)?.pooled;
        let ids = clip_ids(&tokenizers.clip_g)?;
        trace_ids(context, &format!("{label}.tokenizer_2"), &ids, None)?;
        let g = self.clip_g.forward(&ids)?.pooled;
        let (ids, real) = tokenizers.t5.encode_counted(text, length)?;
        trace_ids(context, &format!("{label}.tokenizer_3"), &ids, Some(real))?;
        let t5 = self.t5.forward_masked(&ids, real)?;
        context.observer.ask().check()?;
        let (ids, real) = tokenizers.llama.encode_counted(text, length)?;
        trace_ids(context, &format!("{label}.tokenizer_4"), &ids, Some(real))?;
        let llama = self.llama.states(&ids, real)?;
        context.observer.ask().check()?;
        let pooled = Tensor::cat(&[l.to_dtype(DType::F32)?, g.to_dtype(DType::F32)?], 1)?;
        if context.trace.is_some() {
            let parts = [("t5", &t5), ("llama", &Tensor::stack(&llama, 0)?), ("pooled", &pooled)];
            stages::trace_texts(context, label, &parts)?;
        }
        Ok(Text { t5, llama, pooled })
    }
}

/// A CLIP, and how wide its pooled text is.
fn load_clip(checkpoint: &Checkpoint, precision: &Precision, folder: &str) -> Result<(ClipText, usize)> {
    let file = checkpoint.config(&format!("{folder}/config.json"))?;
    let config = ClipConfig::read(&file)?;
    if config.positions < CLIP_TOKENS {
        let wanted = format!("at least {CLIP_TOKENS}: HiDream-I1 has long CLIPs of its own");
        return Err(file.unsupported("max_position_embeddings", config.positions, &wanted));
    }
    let model =
        load(checkpoint, folder, TRANSFORMERS, precision, ClipText::ignores, |w| ClipText::load_projected(&config, w))?;
    Ok((model, config.projection))
}

/// Makes sure that the components speak of the same widths and layers.
fn check_fit(file: &Config, transformer: &HiDreamConfig, t5: &T5Config, llama: &LlamaConfig) -> Result<()> {
    let widths = [transformer.t5_width, transformer.llama_width];
    if widths != [t5.d_model, llama.hidden] {
        let wanted = format!("[{}, {}], the widths of text_encoder_3 and of Llama", t5.d_model, llama.hidden);
        return Err(file.unsupported("caption_channels", format!("{widths:?}"), &wanted));
    }
    if let Some(layer) = transformer.llama_layers.iter().find(|layer| **layer >= llama.layers) {
        let wanted = format!("layers below {}, which is how many Llama has", llama.layers);
        return Err(file.unsupported("llama_layers", layer, &wanted));
    }
    Ok(())
}

/// Writes down ids, and which of them count, where a model is told.
fn trace_ids(context: &Context<'_>, name: &str, ids: &[u32], real: Option<usize>) -> Result<()> {
    let Some(trace) = context.trace else { return Ok(()) };
    trace.put(&format!("{name}.input_ids"), &stages::ids_tensor(ids)?)?;
    let Some(real) = real else { return Ok(()) };
    let mask: Vec<i64> = (0..ids.len()).map(|place| i64::from(place < real)).collect();
    trace.put(&format!("{name}.attention_mask"), &Tensor::from_vec(mask, (1, ids.len()), &Device::Cpu)?)
}
