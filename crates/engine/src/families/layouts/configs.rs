//! Configurations of components that come without one: sizes are read from tensors, and what tensors do not tell is what the
//! base's configuration says, or else what the family's publishers say.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Kind, LLAMA_HEAD, auraflow, f_lite, flux, hidream, omnigen2, sd35};
use crate::error::{Error, Result};
use crate::weights::Part;

pub(super) type Json = Map<String, Value>;

/// The configuration of a component.
///
/// # Errors
/// [`Error::MissingTensor`] where a tensor is missing whose shape tells a size, [`Error::Damaged`] where sizes do not fit.
pub(super) fn of(class: &str, component: &str, kind: Kind, part: &Part, base: Option<Json>) -> Result<Json> {
    let sizes = Sizes { part, shapes: part.shapes() };
    let mut config = base.unwrap_or_else(|| published(class, component, kind));
    let told = match kind {
        Kind::Transformer(class) if class == sd35::FAMILY.class => sizes.sd35()?,
        Kind::Transformer(class) if class == auraflow::FAMILY.class => sizes.auraflow(&config)?,
        Kind::Transformer(class) if class == hidream::FAMILY.class => sizes.hidream(&mut config)?,
        Kind::Transformer(class) if class == f_lite::FAMILY.class => sizes.f_lite(&config)?,
        Kind::Transformer(class) if class == omnigen2::FAMILY.class => sizes.omnigen2()?,
        Kind::Transformer(_) => sizes.flux()?,
        Kind::Vae => sizes.vae()?,
        Kind::Clip => sizes.clip(&config)?,
        Kind::T5 => sizes.t5()?,
        Kind::Llama => sizes.llama(&config)?,
    };
    if let Value::Object(told) = told {
        config.extend(told);
    }
    Ok(config)
}

/// The width of a head of a Llama, where tensors do not tell.
pub(super) fn llama_head(config: Option<&Json>) -> usize {
    let Some(config) = config else { return LLAMA_HEAD };
    let whole = |key: &str| size(config, key).filter(|size| *size > 0);
    let usual = || Some(whole("hidden_size")? / whole("num_attention_heads")?);
    whole("head_dim").or_else(usual).unwrap_or(LLAMA_HEAD)
}

/// The schedule that a family was published with, where the base has none; HiDream-I1's variants differ in nothing else.
pub(super) fn scheduler(class: &str, is_guided: bool) -> Option<Json> {
    let published = match class {
        class if class == sd35::FAMILY.class => json!({ "shift": 3.0 }),
        class if class == auraflow::FAMILY.class => json!({ "shift": 1.73 }),
        class if class == omnigen2::FAMILY.class => json!({ "dynamic_time_shift": true }),
        class if class != flux::FAMILY.class && class != flux::FILL.class => return None,
        _ if is_guided => json!({
            "base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15, "shift": 3.0,
            "use_dynamic_shifting": true,
        }),
        _ => json!({ "shift": 1.0, "use_dynamic_shifting": false }),
    };
    let mut config = object(published);
    config.insert("_class_name".into(), "FlowMatchEulerDiscreteScheduler".into());
    config.insert("num_train_timesteps".into(), 1000.into());
    Some(config)
}

/// What tensors do not tell.
fn published(class: &str, component: &str, kind: Kind) -> Json {
    object(match kind {
        Kind::Transformer(_) | Kind::T5 => json!({}),
        Kind::Clip if component == "text_encoder" => json!({ "hidden_act": "quick_gelu" }),
        Kind::Clip => json!({ "hidden_act": "gelu" }),
        Kind::Llama => json!({
            "head_dim": LLAMA_HEAD, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
            "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        }),
        Kind::Vae => {
            let (scaling, shift) = match class {
                class if class == sd35::FAMILY.class => (1.5305, 0.0609),
                class if class == auraflow::FAMILY.class => (0.13025, 0.0),
                _ => (0.3611, 0.1159),
            };
            json!({ "norm_num_groups": 32, "scaling_factor": scaling, "shift_factor": shift, "sample_size": 1024 })
        }
    })
}

fn object(value: Value) -> Json {
    match value {
        Value::Object(map) => map,
        _ => Json::new(),
    }
}

fn size(config: &Json, key: &str) -> Option<usize> {
    config.get(key)?.as_u64().and_then(|size| usize::try_from(size).ok())
}

/// Shapes that tell sizes.
struct Sizes<'a> {
    part: &'a Part,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Sizes<'_> {
    fn flux(&self) -> Result<Value> {
        let width = self.side("x_embedder.weight", 0)?;
        let head = self.side("transformer_blocks.0.attn.norm_q.weight", 0)?;
        Ok(json!({
            "patch_size": 1,
            "in_channels": self.side("x_embedder.weight", 1)?,
            "out_channels": self.side("proj_out.weight", 0)?,
            "num_layers": self.count("transformer_blocks"),
            "num_single_layers": self.count("single_transformer_blocks"),
            "attention_head_dim": head,
            "num_attention_heads": self.ratio(width, head, "x_embedder.weight")?,
            "joint_attention_dim": self.side("context_embedder.weight", 1)?,
            "pooled_projection_dim": self.side("time_text_embed.text_embedder.linear_1.weight", 1)?,
            "guidance_embeds": self.has("time_text_embed.guidance_embedder.linear_1.weight"),
        }))
    }

    fn sd35(&self) -> Result<Value> {
        let width = self.side("pos_embed.proj.weight", 0)?;
        let norm = "transformer_blocks.0.attn.norm_q.weight";
        // models without these norms are others of the family; what is said of heads then does not matter
        let head = if self.has(norm) { self.side(norm, 0)? } else { width };
        Ok(json!({
            "patch_size": 2,
            "in_channels": self.side("pos_embed.proj.weight", 1)?,
            "out_channels": self.side("proj_out.weight", 0)? / 4,
            "num_layers": self.count("transformer_blocks"),
            "attention_head_dim": head,
            "num_attention_heads": self.ratio(width, head, "pos_embed.proj.weight")?,
            "joint_attention_dim": self.side("context_embedder.weight", 1)?,
            "pooled_projection_dim": self.side("time_text_embed.text_embedder.linear_1.weight", 1)?,
            "caption_projection_dim": width,
            "pos_embed_max_size": self.positions()?.isqrt(),
            "qk_norm": if self.has(norm) { "rms_norm" } else { "none" },
            "dual_attention_layers": [],
        }))
    }

    fn auraflow(&self, config: &Json) -> Result<Value> {
        let width = self.side("pos_embed.proj.weight", 0)?;
        let head = size(config, "attention_head_dim").unwrap_or(256);
        Ok(json!({
            "patch_size": 2,
            "in_channels": self.side("pos_embed.proj.weight", 1)? / 4,
            "out_channels": self.side("proj_out.weight", 0)? / 4,
            "num_mmdit_layers": self.count("joint_transformer_blocks"),
            "num_single_dit_layers": self.count("single_transformer_blocks"),
            "attention_head_dim": head,
            "num_attention_heads": self.ratio(width, head, "pos_embed.proj.weight")?,
            "joint_attention_dim": self.side("context_embedder.weight", 1)?,
            "caption_projection_dim": width,
            "pos_embed_max_size": self.positions()?,
        }))
    }

    fn hidream(&self, config: &mut Json) -> Result<Value> {
        let width = self.side("x_embedder.proj.weight", 0)?;
        let head = size(config, "attention_head_dim").unwrap_or(128);
        let (joint, single) = (self.count("double_stream_blocks"), self.count("single_stream_blocks"));
        // of a model with other blocks
        if config.get("llama_layers").and_then(Value::as_array).is_some_and(|layers| layers.len() != joint + single) {
            config.remove("llama_layers");
        }
        let captions = self.count("caption_projection").max(1) - 1;
        let caption = |number: usize| self.side(&format!("caption_projection.{number}.linear.weight"), 1);
        Ok(json!({
            "patch_size": 2,
            "in_channels": self.side("x_embedder.proj.weight", 1)? / 4,
            "out_channels": self.side("final_layer.linear.weight", 0)? / 4,
            "num_layers": joint,
            "num_single_layers": single,
            "attention_head_dim": head,
            "num_attention_heads": self.ratio(width, head, "x_embedder.proj.weight")?,
            "caption_channels": [caption(captions)?, caption(0)?],
            "text_emb_dim": self.side("p_embedder.pooled_embedder.linear_1.weight", 1)?,
            "num_routed_experts": self.side("double_stream_blocks.0.block.ff_i.gate.weight", 0)?,
        }))
    }

    fn f_lite(&self, config: &Json) -> Result<Value> {
        let width = self.side("patch_embed.patch_proj.weight", 0)?;
        let table = "rope.freqs_hw_cos";
        // the table of positions has half of a head; heads are 256 wide in all that were published
        let head = if self.has(table) {
            2 * self.side(table, 2)?
        } else {
            let same = size(config, "hidden_size") == Some(width);
            size(config, "num_heads").filter(|heads| same && *heads > 0).map_or(256, |heads| width / heads)
        };
        // whoever multiplies it with the width again rounds down
        let wide = self.side("blocks.0.mlp.0.weight", 0)?;
        let ratio = wide as f64 / width as f64;
        Ok(json!({
            "patch_size": 2,
            "in_channels": self.side("patch_embed.patch_proj.weight", 1)?,
            "hidden_size": width,
            "depth": self.count("blocks"),
            "num_heads": self.ratio(width, head, "patch_embed.patch_proj.weight")?,
            "mlp_ratio": if (ratio * width as f64) as usize == wide { ratio } else { ratio.next_up() },
            "cross_attn_input_size": self.side("blocks.0.cross_attn.context_kv.weight", 1)?,
            "residual_v": self.has("blocks.0.self_attn.lambda_param"),
            "train_bias_and_rms": self.has("blocks.0.norm1.weight"),
        }))
    }

    fn omnigen2(&self) -> Result<Value> {
        let width = self.side("x_embedder.weight", 0)?;
        let head = self.side("context_refiner.0.attn.norm_q.weight", 0)?;
        let (keys, wide) = ("context_refiner.0.attn.to_k.weight", "context_refiner.0.feed_forward.linear_1.weight");
        let wide = self.side(wide, 0)?;
        Ok(json!({
            "patch_size": 2,
            "in_channels": self.side("x_embedder.weight", 1)? / 4,
            "out_channels": self.side("norm_out.linear_2.weight", 0)? / 4,
            "hidden_size": width,
            "num_layers": self.count("layers"),
            "num_refiner_layers": self.count("context_refiner"),
            "num_attention_heads": self.ratio(width, head, "x_embedder.weight")?,
            "num_kv_heads": self.ratio(self.side(keys, 0)?, head, keys)?,
            // a share of four tokens, rounded up to what the tensor says
            "ffn_dim_multiplier": (wide as f64 / (4 * width) as f64).min(1.0),
            "multiple_of": wide,
            "text_feat_dim": self.side("time_caption_embed.caption_embedder.0.weight", 0)?,
        }))
    }

    fn vae(&self) -> Result<Value> {
        let level = |i: usize| self.side(&format!("encoder.down_blocks.{i}.resnets.0.conv1.weight"), 0);
        let levels = self.count("encoder.down_blocks");
        Ok(json!({
            "out_channels": self.side("decoder.conv_out.weight", 0)?,
            "block_out_channels": (0..levels).map(level).collect::<Result<Vec<usize>>>()?,
            "layers_per_block": self.count("encoder.down_blocks.0.resnets"),
            "latent_channels": self.side("decoder.conv_in.weight", 1)?,
            "use_quant_conv": self.has("quant_conv.weight"),
            "use_post_quant_conv": self.has("post_quant_conv.weight"),
            "mid_block_add_attention": self.has("decoder.mid_block.attentions.0.to_q.weight"),
        }))
    }

    fn clip(&self, config: &Json) -> Result<Value> {
        let before = if self.has("text_model.embeddings.token_embedding.weight") { "text_model." } else { "" };
        let side = |name: &str, dimension: usize| self.side(&format!("{before}{name}"), dimension);
        let hidden = side("embeddings.token_embedding.weight", 1)?;
        let projection = "text_projection.weight";
        // heads are 64 wide in all that were published
        let same = size(config, "hidden_size") == Some(hidden);
        let heads = size(config, "num_attention_heads").filter(|_| same).unwrap_or(hidden / 64);
        Ok(json!({
            "vocab_size": side("embeddings.token_embedding.weight", 0)?,
            "hidden_size": hidden,
            "intermediate_size": side("encoder.layers.0.mlp.fc1.weight", 0)?,
            "num_hidden_layers": self.count(&format!("{before}encoder.layers")),
            "num_attention_heads": heads,
            "max_position_embeddings": side("embeddings.position_embedding.weight", 0)?,
            "projection_dim": if self.has(projection) { self.side(projection, 0)? } else { hidden },
        }))
    }

    fn t5(&self) -> Result<Value> {
        let first = "encoder.block.0.layer";
        let table = format!("{first}.0.SelfAttention.relative_attention_bias.weight");
        let query = format!("{first}.0.SelfAttention.q.weight");
        let heads = self.side(&table, 1)?;
        let own = self.has("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight");
        Ok(json!({
            "model_type": if own { "umt5" } else { "t5" },
            "vocab_size": self.side("shared.weight", 0)?,
            "d_model": self.side("shared.weight", 1)?,
            "d_kv": self.ratio(self.side(&query, 0)?, heads, &query)?,
            "d_ff": self.side(&format!("{first}.1.DenseReluDense.wi_0.weight"), 0)?,
            "num_layers": self.count("encoder.block"),
            "num_heads": heads,
            "relative_attention_num_buckets": self.side(&table, 0)?,
        }))
    }

    fn llama(&self, config: &Json) -> Result<Value> {
        let head = llama_head(Some(config));
        let heads = |name: &str| {
            let name = format!("model.layers.0.self_attn.{name}.weight");
            self.ratio(self.side(&name, 0)?, head, &name)
        };
        Ok(json!({
            "vocab_size": self.side("model.embed_tokens.weight", 0)?,
            "hidden_size": self.side("model.embed_tokens.weight", 1)?,
            "intermediate_size": self.side("model.layers.0.mlp.gate_proj.weight", 0)?,
            "num_hidden_layers": self.count("model.layers"),
            "head_dim": head,
            "num_attention_heads": heads("q_proj")?,
            "num_key_value_heads": heads("k_proj")?,
        }))
    }

    /// Entries of the table of positions, before whose dimensions writers may drop a 1.
    fn positions(&self) -> Result<usize> {
        let name = "pos_embed.pos_embed";
        let shape = self.shape(name)?;
        let place = shape.len().checked_sub(2);
        place.map(|place| shape[place]).ok_or_else(|| self.odd(name, shape))
    }

    fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    fn shape(&self, name: &str) -> Result<&[usize]> {
        let missing = || Error::MissingTensor { file: self.part.path().to_owned(), name: name.to_owned() };
        self.shapes.get(name).map(Vec::as_slice).ok_or_else(missing)
    }

    fn side(&self, name: &str, dimension: usize) -> Result<usize> {
        let shape = self.shape(name)?;
        let side = shape.get(dimension).copied().filter(|side| (1..=1 << 24).contains(side));
        side.ok_or_else(|| self.odd(name, shape))
    }

    fn odd(&self, name: &str, shape: &[usize]) -> Error {
        let reason = format!("tensor {name} has the impossible shape {shape:?}");
        Error::Damaged { path: self.part.path().to_owned(), reason }
    }

    fn ratio(&self, whole: usize, part: usize, name: &str) -> Result<usize> {
        if part > 0 && whole.is_multiple_of(part) {
            return Ok(whole / part);
        }
        let reason = format!("tensor {name} has {whole} rows, which are not whole heads of {part}");
        Err(Error::Damaged { path: self.part.path().to_owned(), reason })
    }

    /// How many numbered things there are below a name.
    fn count(&self, name: &str) -> usize {
        let is_there = |number: &usize| {
            let start = format!("{name}.{number}.");
            self.shapes.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
        };
        (0..).take_while(is_there).count()
    }
}
