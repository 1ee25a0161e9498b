//! Three text encoders, one sequence: both CLIPs side by side, then T5.

use candle_core::{DType, Device, Tensor};

use super::transformer::Sd35Config;
use crate::adapters::lora::Part;
use crate::call::Call;
use crate::encoders::{ClipConfig, ClipOutput, ClipText, T5Config, T5Encoder};
use crate::error::Result;
use crate::families::Context;
use crate::stages::{self, Bytes, Held, TRANSFORMERS, load_held};
use crate::tokenize::{ClipTokenizer, T5Tokenizer};
use crate::weights::{Checkpoint, Config, Overlay, Precision, Weights};

/// T5 tokens that the released model was trained with, and how many it takes.
const TOKENS: usize = 256;
const MOST_TOKENS: usize = 512;

/// What LoRAs put before the names of each encoder.
const CLIP_L_PREFIXES: &[&str] = &["text_encoder.", "text_encoders.clip_l.transformer.", "lora_te1_", "lora_te_"];
const CLIP_G_PREFIXES: &[&str] = &["text_encoder_2.", "text_encoders.clip_g.transformer.", "lora_te2_"];
const T5_PREFIXES: &[&str] = &["text_encoder_3.", "text_encoders.t5xxl.transformer.", "lora_te3_"];

/// What a prompt became.
#[derive(Clone)]
pub(super) struct Text {
    /// `[batch, tokens, width]`.
    pub(super) sequence: Tensor,
    /// `[batch, width]`.
    pub(super) pooled: Tensor,
}

impl Bytes for Text {
    fn bytes(&self) -> usize {
        self.sequence.bytes() + self.pooled.bytes()
    }
}

/// The tokenizers of a checkpoint.
pub(super) struct Tokenizers {
    clip_l: ClipTokenizer,
    clip_g: ClipTokenizer,
    /// Absent with its encoder.
    t5: Option<T5Tokenizer>,
}

/// The encoders of a checkpoint.
#[derive(Clone)]
pub(super) struct TextEncoders {
    clip_l: Held<ClipText>,
    clip_g: Held<ClipText>,
    /// A large part of the checkpoint, which it may go without.
    t5: Option<Held<T5Encoder>>,
    /// Width of a text token.
    width: usize,
    device: Device,
    /// Stands for the tensors of an encoder that is not there.
    nothing: Weights,
}

impl Tokenizers {
    pub(super) fn load(checkpoint: &Checkpoint) -> Result<Self> {
        let t5 = || T5Tokenizer::load(checkpoint, "tokenizer_3");
        Ok(Self {
            clip_l: ClipTokenizer::load(checkpoint, "tokenizer")?,
            clip_g: ClipTokenizer::load(checkpoint, "tokenizer_2")?,
            t5: checkpoint.names("text_encoder_3")?.then(t5).transpose()?,
        })
    }

    /// T5 is asked: CLIP's tokenizers cut words that they lack into bytes, and know every byte.
    pub(super) fn unknown_words(&self, text: &str) -> Result<Vec<String>> {
        self.t5.as_ref().map_or(Ok(Vec::new()), |t5| t5.unknown_words(text))
    }
}

impl TextEncoders {
    pub(super) fn load(
        checkpoint: &Checkpoint,
        precision: &Precision,
        file: &Config,
        transformer: &Sd35Config,
    ) -> Result<Self> {
        let (l, l_config) = load_clip(checkpoint, precision, "text_encoder")?;
        let (g, g_config) = load_clip(checkpoint, precision, "text_encoder_2")?;
        let pooled = l_config.projection + g_config.projection;
        let what = "the projections of text_encoder and text_encoder_2 together";
        file.fits(&[("pooled_projection_dim", transformer.pooled_width, pooled, what)])?;
        let states = l_config.hidden + g_config.hidden;
        if transformer.text_width < states {
            let wanted = format!("at least {states}, the widths of text_encoder and text_encoder_2 together");
            return Err(file.unsupported("joint_attention_dim", transformer.text_width, &wanted));
        }
        let t5 = || load_t5(checkpoint, precision, file, transformer);
        Ok(Self {
            clip_l: l,
            clip_g: g,
            t5: checkpoint.names("text_encoder_3")?.then(t5).transpose()?,
            width: transformer.text_width,
            device: precision.device.clone(),
            nothing: Weights::recorder(),
        })
    }

    /// What LoRAs may change: both CLIPs and T5.
    pub(super) fn parts(&self) -> [Part<'_>; 3] {
        let t5 = self.t5.as_ref().map_or(&self.nothing, Held::weights);
        let part = |folder, weights, prefixes| Part { folder, weights, names: None, prefixes };
        [
            part("text_encoder", self.clip_l.weights(), CLIP_L_PREFIXES),
            part("text_encoder_2", self.clip_g.weights(), CLIP_G_PREFIXES),
            part("text_encoder_3", t5, T5_PREFIXES),
        ]
    }

    /// The same encoders with changes, in the order of [`TextEncoders::parts`].
    pub(super) fn with(&self, [l, g, third]: [Overlay; 3]) -> Result<Self> {
        Ok(Self {
            clip_l: self.clip_l.with(l)?,
            clip_g: self.clip_g.with(g)?,
            t5: self.t5.as_ref().map(|t5| t5.with(third)).transpose()?,
            ..self.clone()
        })
    }

    /// One text, as a batch of one; in the widest type among its encoders'.
    pub(super) fn encode(
        &self,
        tokenizers: &Tokenizers,
        label: &str,
        text: &str,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Text> {
        let length = call.text_tokens(TOKENS, MOST_TOKENS)?;
        let ids = tokenizers.clip_l.encode(text)?;
        let l = read_by_clip(&self.clip_l, &ids, [label, "tokenizer", "text_encoder"], context)?;
        let ids = tokenizers.clip_g.encode(text)?;
        let g = read_by_clip(&self.clip_g, &ids, [label, "tokenizer_2", "text_encoder_2"], context)?;
        let t5 = match (&self.t5, &tokenizers.t5) {
            (Some(t5), Some(tokenizer)) => read_by_t5(t5, &tokenizer.encode(text, length)?, label, context)?,
            // diffusers feeds nothing but zeros in its place
            _ => Tensor::zeros((1, length, self.width), DType::F32, &self.device)?,
        };
        let wide = |t: &Tensor| t.to_dtype(DType::F32);
        let clip = Tensor::cat(&[wide(&l.penultimate)?, wide(&g.penultimate)?], 2)?;
        let clip = clip.pad_with_zeros(2, 0, self.width - clip.dim(2)?)?;
        Ok(Text {
            sequence: Tensor::cat(&[clip, wide(&t5)?], 1)?,
            pooled: Tensor::cat(&[wide(&l.pooled)?, wide(&g.pooled)?], 1)?,
        })
    }
}

fn load_clip(checkpoint: &Checkpoint, precision: &Precision, folder: &str) -> Result<(Held<ClipText>, ClipConfig)> {
    let config = ClipConfig::read(&checkpoint.config(&format!("{folder}/config.json"))?)?;
    let sizes = config.clone();
    let model = load_held(checkpoint, folder, TRANSFORMERS, precision, ClipText::ignores, move |w| {
        ClipText::load_projected(&sizes, w)
    })?;
    Ok((model, config))
}

fn load_t5(
    checkpoint: &Checkpoint,
    precision: &Precision,
    file: &Config,
    transformer: &Sd35Config,
) -> Result<Held<T5Encoder>> {
    let config = T5Config::read(&checkpoint.config("text_encoder_3/config.json")?)?;
    let width = ("joint_attention_dim", transformer.text_width, config.d_model, "the width of text_encoder_3");
    file.fits(&[width])?;
    // T5-XXL overflows in float16; bfloat16 has its range
    let wide = stages::instead_of_half(precision, DType::BF16);
    load_held(checkpoint, "text_encoder_3", TRANSFORMERS, &wide, T5Encoder::ignores, move |w| {
        T5Encoder::load(&config, w)
    })
}

fn read_by_clip(
    clip: &ClipText,
    ids: &[u32],
    [label, tokenizer, encoder]: [&str; 3],
    context: &Context<'_>,
) -> Result<ClipOutput> {
    let output = clip.forward(ids)?;
    let name = |part: &str| format!("{encoder}.{part}");
    let parts = [
        (&*format!("{tokenizer}.input_ids"), &stages::ids_tensor(ids)?),
        (&*name("penultimate"), &output.penultimate),
        (&*name("last_hidden_state"), &output.last_hidden_state),
        (&*name("pooled"), &output.pooled),
    ];
    stages::trace_texts(context, label, &parts)?;
    Ok(output)
}

fn read_by_t5(t5: &T5Encoder, ids: &[u32], label: &str, context: &Context<'_>) -> Result<Tensor> {
    let states = t5.forward(ids)?;
    let parts = [("tokenizer_3.input_ids", &stages::ids_tensor(ids)?), ("text_encoder_3.last_hidden_state", &states)];
    stages::trace_texts(context, label, &parts)?;
    Ok(states)
}
