//! Sizes of a Llama decoder or of one that is built like it, and how its positions are stretched.

use crate::error::Result;
use crate::weights::Config;

/// Sizes of a Llama decoder.
#[derive(Clone, Debug)]
pub struct LlamaConfig {
    /// Token ids.
    pub vocab: usize,
    /// Width of a token.
    pub hidden: usize,
    /// Width of the feed-forward.
    pub intermediate: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, each of which serves as many heads of queries.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Added to mean squares.
    pub eps: f64,
    /// Base of the rotary frequencies.
    pub theta: f64,
    /// How low frequencies are slowed down, where they are.
    pub scaling: Option<RopeScaling>,
    /// Whether queries, keys and values have biases.
    pub qkv_biases: bool,
}

/// Llama 3.1 8B.
const LLAMA: LlamaConfig = LlamaConfig {
    vocab: 128_256,
    hidden: 4096,
    intermediate: 14336,
    layers: 32,
    heads: 32,
    kv_heads: 8,
    head_width: 128,
    eps: 1e-5,
    theta: 500_000.0,
    scaling: None,
    qkv_biases: false,
};

/// What of Qwen2.5-VL-3B reads text.
const QWEN: LlamaConfig = LlamaConfig {
    vocab: 151_936,
    hidden: 2048,
    intermediate: 11008,
    layers: 36,
    heads: 16,
    kv_heads: 2,
    head_width: 128,
    eps: 1e-6,
    theta: 1e6,
    scaling: None,
    qkv_biases: true,
};

/// The `llama3` way of stretching positions: frequencies whose wave is long are slowed down.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeScaling {
    /// How much slower.
    pub factor: f64,
    /// Waves longer than `original` over this are slowed down wholly.
    pub low: f64,
    /// Waves shorter than `original` over this are left alone.
    pub high: f64,
    /// Positions that the model was trained with at first.
    pub original: f64,
}

impl LlamaConfig {
    /// From `text_encoder_4/config.json`; absent keys mean Llama 3.1 8B.
    ///
    /// # Errors
    /// Values that are no sizes or do not fit together, or parts that only other models of the kind have.
    pub fn read(config: &Config) -> Result<Self> {
        for key in ["attention_bias", "mlp_bias"] {
            if config.flag_or(key, false)? {
                return Err(config.unsupported(key, true, "false"));
            }
        }
        Ok(Self { scaling: RopeScaling::read(config)?, ..Self::read_as(config, &LLAMA)? })
    }

    /// What reads text in a Qwen2.5-VL, from `mllm/config.json`; absent keys mean the model of three billion parameters.
    ///
    /// # Errors
    /// As [`LlamaConfig::read`].
    pub fn read_qwen(config: &Config) -> Result<Self> {
        // transformers 5 keeps apart what is of the text
        let config = &config.inner("text_config")?;
        if config.flag_or("use_sliding_window", false)? {
            return Err(config.unsupported("use_sliding_window", true, "false"));
        }
        // three axes of positions, which for text are one
        let (key, kind) = rotation(config, "mrope")?;
        if !["mrope", "default"].contains(&&*kind) {
            return Err(config.unsupported(&format!("{key}.rope_type"), kind, "mrope or default"));
        }
        Self::read_as(config, &QWEN)
    }

    fn read_as(config: &Config, usual: &Self) -> Result<Self> {
        let heads = config.size_or("num_attention_heads", usual.heads)?;
        let hidden = config.size_or("hidden_size", usual.hidden)?;
        let head_width = if heads > 0 && hidden.is_multiple_of(heads) { hidden / heads } else { 0 };
        // transformers 5 keeps everything about rotation in one object
        let rope = config.inner("rope_parameters")?;
        let this = Self {
            vocab: config.size_or("vocab_size", usual.vocab)?,
            hidden,
            intermediate: config.size_or("intermediate_size", usual.intermediate)?,
            layers: config.size_or("num_hidden_layers", usual.layers)?,
            heads,
            kv_heads: config.size_or("num_key_value_heads", usual.kv_heads)?,
            head_width: config.size_or("head_dim", head_width)?,
            eps: config.number_or("rms_norm_eps", usual.eps)?,
            theta: rope.number_or("rope_theta", config.number_or("rope_theta", usual.theta)?)?,
            ..usual.clone()
        };
        this.check(config)?;
        Ok(this)
    }

    fn check(&self, config: &Config) -> Result<()> {
        let activation = config.text_or("hidden_act", "silu");
        if activation != "silu" {
            return Err(config.unsupported("hidden_act", activation, "silu"));
        }
        if self.heads == 0 || self.head_width == 0 || !self.head_width.is_multiple_of(2) {
            return Err(config.unsupported("num_attention_heads", self.heads, "heads of an even width"));
        }
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            let wanted = format!("a divisor of {}", self.heads);
            return Err(config.unsupported("num_key_value_heads", self.kv_heads, &wanted));
        }
        if self.layers == 0 {
            return Err(config.unsupported("num_hidden_layers", 0, "at least 1"));
        }
        if !(self.theta.is_finite() && self.theta > 1.0) {
            return Err(config.unsupported("rope_theta", self.theta, "a number above 1"));
        }
        Ok(())
    }
}

/// Which entry speaks of how positions turn, and the kind that it names, or else the usual one.
fn rotation(config: &Config, usual: &str) -> Result<(&'static str, String)> {
    let key = if config.get("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    if config.get(key).is_none() {
        return Ok((key, usual.to_owned()));
    }
    let said = config.inner(key)?;
    Ok((key, said.text_or("rope_type", said.text_or("type", usual)).to_owned()))
}

impl RopeScaling {
    fn read(config: &Config) -> Result<Option<Self>> {
        let (key, kind) = rotation(config, "llama3")?;
        if config.get(key).is_none() || kind == "default" {
            return Ok(None);
        }
        let said = config.inner(key)?;
        if kind != "llama3" {
            return Err(config.unsupported(&format!("{key}.rope_type"), kind, "llama3 or default"));
        }
        let this = Self {
            factor: said.number_or("factor", 8.0)?,
            low: said.number_or("low_freq_factor", 1.0)?,
            high: said.number_or("high_freq_factor", 4.0)?,
            original: said.number_or("original_max_position_embeddings", 8192.0)?,
        };
        let sound = [this.factor, this.low, this.original].iter().all(|x| x.is_finite() && *x > 0.0);
        if !(sound && this.high.is_finite() && this.high > this.low) {
            let wanted = "numbers above 0, and a high_freq_factor above low_freq_factor";
            return Err(config.unsupported(key, format!("{this:?}"), wanted));
        }
        Ok(Some(this))
    }

    /// A frequency, slowed down as far as its wave is long. Float32, as the reference computes it.
    pub(super) fn slowed(&self, frequency: f32) -> f32 {
        let [factor, low, high, original] = [self.factor, self.low, self.high, self.original].map(|x| x as f32);
        let wave = 2.0 * std::f32::consts::PI / frequency;
        if wave < original / high {
            frequency
        } else if wave > original / low {
            frequency / factor
        } else {
            let smooth = (original / wave - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waves_are_slowed_down_and_short_ones_are_not() {
        let scaling = RopeScaling { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let frequency = |wave: f32| 2.0 * std::f32::consts::PI / wave;
        assert_eq!(scaling.slowed(frequency(100.0)), frequency(100.0));
        assert_eq!(scaling.slowed(frequency(10000.0)), frequency(10000.0) / 8.0);
        let between = scaling.slowed(frequency(4096.0)) / frequency(4096.0);
        // a third of the way from slowed to plain
        assert!((between - (2.0 / 3.0 / 8.0 + 1.0 / 3.0)).abs() < 1e-5, "{between}");
    }
}
