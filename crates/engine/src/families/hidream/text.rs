//! Four text encoders: both CLIPs for the pooled text, T5 and all layers of Llama for the blocks.

use candle_core::{DType, Device, Tensor};

use super::brought::{self, Brought};
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

/// The encoders of a checkpoint: half of its memory, and idle while it draws. Nothing else holds their weights, so that
/// they are free as soon as this is dropped, and [`TextEncoders::load`] brings them back.
pub(super) struct TextEncoders {
    clip_l: Clip,
    clip_g: Clip,
    t5: T5Encoder,
    t5_tokenizer: T5Tokenizer,
    llama: Llama,
    llama_tokenizer: LlamaTokenizer,
}

struct Clip {
    tokenizer: ClipTokenizer,
    model: ClipText,
    projection: usize,
}

impl TextEncoders {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        precision: &Precision,
        file: &Config,
        transformer: &HiDreamConfig,
    ) -> Result<Self> {
        let clip_l = Clip::load(checkpoint, precision, "text_encoder", "tokenizer")?;
        let clip_g = Clip::load(checkpoint, precision, "text_encoder_2", "tokenizer_2")?;
        let pooled = clip_l.projection + clip_g.projection;
        if transformer.pooled_width != pooled {
            let wanted = format!("{pooled}, the projections of text_encoder and text_encoder_2 together");
            return Err(file.unsupported("text_emb_dim", transformer.pooled_width, &wanted));
        }
        let t5_config = T5Config::read(&checkpoint.config("text_encoder_3/config.json")?)?;
        let Brought { checkpoint: other, weights, tokenizer } = brought::find(checkpoint)?;
        let llama_config = LlamaConfig::read(&other.config(&format!("{weights}/config.json"))?)?;
        check_fit(file, transformer, &t5_config, &llama_config)?;
        // both overflow in float16; bfloat16 has their range
        let wide = stages::instead_of_half(precision, DType::BF16);
        let t5 = load(checkpoint, "text_encoder_3", TRANSFORMERS, &wide, T5Encoder::ignores, |w| {
            T5Encoder::load(&t5_config, w)
        })?;
        let llama = load(&other, weights, TRANSFORMERS, &wide, Llama::ignores, |w| Llama::load(&llama_config, w))?;
        Ok(Self {
            clip_l,
            clip_g,
            t5,
            t5_tokenizer: T5Tokenizer::load(checkpoint, "tokenizer_3")?,
            llama,
            llama_tokenizer: LlamaTokenizer::load(&other, tokenizer)?,
        })
    }

    /// T5 is asked: the other tokenizers cut words that they lack into bytes, and know every byte.
    pub(super) fn unknown_words(&self, text: &str) -> Result<Vec<String>> {
        self.t5_tokenizer.unknown_words(text)
    }

    /// One text.
    pub(super) fn encode(&self, label: &str, text: &str, call: &Call, context: &Context<'_>) -> Result<Text> {
        let length = call.text_tokens(TOKENS, MOST_TOKENS)?;
        let l = self.clip_l.encode(&format!("{label}.tokenizer"), text, length, context)?;
        let g = self.clip_g.encode(&format!("{label}.tokenizer_2"), text, length, context)?;
        let (ids, real) = self.t5_tokenizer.encode_counted(text, length)?;
        trace_ids(context, &format!("{label}.tokenizer_3"), &ids, Some(real))?;
        let t5 = self.t5.forward_masked(&ids, real)?;
        context.observer.ask().check()?;
        let (ids, real) = self.llama_tokenizer.encode_counted(text, length)?;
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

impl Clip {
    fn load(checkpoint: &Checkpoint, precision: &Precision, folder: &str, words: &str) -> Result<Self> {
        let file = checkpoint.config(&format!("{folder}/config.json"))?;
        let config = ClipConfig::read(&file)?;
        if config.positions < CLIP_TOKENS {
            let wanted = format!("at least {CLIP_TOKENS}: HiDream-I1 has long CLIPs of its own");
            return Err(file.unsupported("max_position_embeddings", config.positions, &wanted));
        }
        let model = load(checkpoint, folder, TRANSFORMERS, precision, ClipText::ignores, |w| {
            ClipText::load_projected(&config, w)
        })?;
        Ok(Self { tokenizer: ClipTokenizer::load(checkpoint, words)?, model, projection: config.projection })
    }

    /// The pooled text, `[1, projection]`.
    fn encode(&self, name: &str, text: &str, length: usize, context: &Context<'_>) -> Result<Tensor> {
        let ids = self.tokenizer.encode_to(text, length.min(CLIP_TOKENS))?;
        trace_ids(context, name, &ids, None)?;
        Ok(self.model.forward(&ids)?.pooled)
    }
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
