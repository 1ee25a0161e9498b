//! The JSON files beside the weights.

use serde_json::{Value, json};

use super::{File, Variant, hidream, omnigen2, tokenizers, trained};

/// Width of FLUX's CLIP and T5 states, which the transformer's configuration repeats.
const CLIP_WIDTH: usize = 32;
const T5_WIDTH: usize = 48;
/// The same of SD3.5's three encoders.
const CLIP_L_WIDTH: usize = 32;
const CLIP_G_WIDTH: usize = 40;
const SD35_T5_WIDTH: usize = 80;
/// Width of AuraFlow's UMT5 states.
const UMT5_WIDTH: usize = 32;
/// Width of F-Lite's T5 states.
const F_LITE_T5_WIDTH: usize = 24;
/// Rows and columns of SD3.5's table of positions, and those of the pictures that it was made for.
const SD35_SIDE: usize = 24;
pub(super) const SD35_BASE: usize = 8;

/// Every configuration of a pipeline but those of its tokenizers.
pub(super) fn of(variant: Variant) -> Vec<File> {
    let files = match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill => flux(variant),
        Variant::Sd35 => sd35(),
        Variant::AuraFlow => auraflow(),
        Variant::FLite => f_lite(),
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => hidream::configs(variant),
        Variant::OmniGen2 => omnigen2::configs(),
    };
    files.into_iter().map(|(name, value)| (name.to_owned(), pretty(&value))).collect()
}

/// The configuration of a pipeline's transformer: what is large, and what a test may want otherwise.
pub(super) fn transformer(variant: Variant) -> Value {
    match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill => flux_transformer(variant),
        Variant::Sd35 => sd35_transformer(),
        Variant::AuraFlow => auraflow_transformer(),
        Variant::FLite => f_lite_transformer(),
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => hidream::transformer(),
        Variant::OmniGen2 => omnigen2::transformer(),
    }
}

/// The entry of a table of positions with so many rows and columns, where there is one.
pub(super) fn side(variant: Variant, side: usize) -> Option<(&'static str, Value)> {
    match variant {
        Variant::Sd35 => Some(("pos_embed_max_size", side.into())),
        // counted in entries here
        Variant::AuraFlow => Some(("pos_embed_max_size", (side * side).into())),
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => {
            Some(("max_resolution", json!([2 * side, 2 * side])))
        }
        Variant::Schnell | Variant::Dev | Variant::Fill | Variant::FLite | Variant::OmniGen2 => None,
    }
}

/// The entries that say how many blocks of each kind there are.
pub(super) fn depths(variant: Variant) -> &'static [&'static str] {
    match variant {
        Variant::Schnell
        | Variant::Dev
        | Variant::Fill
        | Variant::HiDreamFull
        | Variant::HiDreamDev
        | Variant::HiDreamFast => &["num_layers", "num_single_layers"],
        Variant::Sd35 => &["num_layers"],
        Variant::AuraFlow => &["num_mmdit_layers", "num_single_dit_layers"],
        Variant::FLite => &["depth"],
        Variant::OmniGen2 => &["num_layers", "num_refiner_layers"],
    }
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn flux(variant: Variant) -> Vec<(&'static str, Value)> {
    let even = variant == Variant::Schnell;
    let class = if variant == Variant::Fill { "FluxFillPipeline" } else { "FluxPipeline" };
    let parts = [
        ("scheduler", SCHEDULER),
        ("text_encoder", "CLIPTextModel"),
        ("text_encoder_2", "T5EncoderModel"),
        ("tokenizer", "CLIPTokenizer"),
        ("tokenizer_2", "T5TokenizerFast"),
        ("transformer", "FluxTransformer2DModel"),
        ("vae", "AutoencoderKL"),
    ];
    let scheduler = json!({
        "_class_name": SCHEDULER,
        "_diffusers_version": "0.30.0",
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "max_image_seq_len": 4096,
        "max_shift": 1.15,
        "num_train_timesteps": 1000,
        "shift": if even { 1.0 } else { 3.0 },
        "use_dynamic_shifting": !even,
    });
    vec![
        ("model_index.json", model_index(class, &parts)),
        ("scheduler/scheduler_config.json", scheduler),
        ("text_encoder/config.json", clip()),
        ("text_encoder_2/config.json", t5()),
        ("transformer/config.json", flux_transformer(variant)),
        ("vae/config.json", vae(variant)),
    ]
}

fn sd35() -> Vec<(&'static str, Value)> {
    let parts = [
        ("scheduler", SCHEDULER),
        ("text_encoder", "CLIPTextModelWithProjection"),
        ("text_encoder_2", "CLIPTextModelWithProjection"),
        ("text_encoder_3", "T5EncoderModel"),
        ("tokenizer", "CLIPTokenizer"),
        ("tokenizer_2", "CLIPTokenizer"),
        ("tokenizer_3", "T5TokenizerFast"),
        ("transformer", "SD3Transformer2DModel"),
        ("vae", "AutoencoderKL"),
    ];
    vec![
        ("model_index.json", model_index("StableDiffusion3Pipeline", &parts)),
        ("scheduler/scheduler_config.json", static_scheduler(3.0)),
        ("text_encoder/config.json", clip_l()),
        ("text_encoder_2/config.json", clip_g()),
        ("text_encoder_3/config.json", sd35_t5()),
        ("transformer/config.json", sd35_transformer()),
        ("vae/config.json", vae(Variant::Sd35)),
    ]
}

fn auraflow() -> Vec<(&'static str, Value)> {
    let parts = [
        ("scheduler", SCHEDULER),
        ("text_encoder", "UMT5EncoderModel"),
        ("tokenizer", "LlamaTokenizerFast"),
        ("transformer", "AuraFlowTransformer2DModel"),
        ("vae", "AutoencoderKL"),
    ];
    vec![
        ("model_index.json", model_index("AuraFlowPipeline", &parts)),
        ("scheduler/scheduler_config.json", static_scheduler(1.73)),
        ("text_encoder/config.json", umt5()),
        ("transformer/config.json", auraflow_transformer()),
        ("vae/config.json", vae(Variant::AuraFlow)),
    ]
}

fn f_lite() -> Vec<(&'static str, Value)> {
    let index = json!({
        "_class_name": "FLitePipeline",
        "_diffusers_version": "0.33.1",
        "dit_model": ["f_lite.model", "DiT"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    vec![
        ("model_index.json", index),
        ("text_encoder/config.json", f_lite_t5()),
        ("dit_model/config.json", f_lite_transformer()),
        ("vae/config.json", vae(Variant::FLite)),
    ]
}

const SCHEDULER: &str = "FlowMatchEulerDiscreteScheduler";

pub(super) fn model_index(class: &str, parts: &[(&str, &str)]) -> Value {
    let mut index = json!({ "_class_name": class, "_diffusers_version": "0.30.0" });
    for (name, class) in parts {
        let library = if name.starts_with('t') && !name.starts_with("tr") { "transformers" } else { "diffusers" };
        index[*name] = json!([library, class]);
    }
    index
}

fn static_scheduler(shift: f64) -> Value {
    json!({
        "_class_name": SCHEDULER,
        "_diffusers_version": "0.30.0",
        "num_train_timesteps": 1000,
        "shift": shift,
        "use_dynamic_shifting": false,
    })
}

pub(super) fn clip() -> Value {
    clip_text("CLIPTextModel", CLIP_WIDTH, 2, "quick_gelu")
}

pub(super) fn clip_l() -> Value {
    clip_text("CLIPTextModelWithProjection", CLIP_L_WIDTH, 3, "quick_gelu")
}

pub(super) fn clip_g() -> Value {
    clip_text("CLIPTextModelWithProjection", CLIP_G_WIDTH, 3, "gelu")
}

fn clip_text(class: &str, width: usize, layers: usize, activation: &str) -> Value {
    json!({
        "architectures": [class],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": activation,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
        "pad_token_id": 1,
        "projection_dim": width,
        "vocab_size": tokenizers::clip_vocab().len(),
    })
}

pub(super) fn t5() -> Value {
    encoder("T5EncoderModel", "t5", T5_WIDTH, tokenizers::t5_pieces().len(), 1)
}

pub(super) fn sd35_t5() -> Value {
    encoder("T5EncoderModel", "t5", SD35_T5_WIDTH, tokenizers::t5_pieces().len(), 1)
}

pub(super) fn umt5() -> Value {
    encoder("UMT5EncoderModel", "umt5", UMT5_WIDTH, tokenizers::llama_vocab().len(), 2)
}

fn encoder(class: &str, kind: &str, width: usize, vocab: usize, end: usize) -> Value {
    json!({
        "architectures": [class],
        "d_ff": 2 * width,
        "d_kv": 8,
        "d_model": width,
        "decoder_start_token_id": 0,
        "eos_token_id": end,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": true,
        "layer_norm_epsilon": 1e-6,
        "model_type": kind,
        "num_heads": 4,
        "num_layers": 2,
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": false,
        "vocab_size": vocab,
    })
}

pub(super) fn f_lite_t5() -> Value {
    let mut config = encoder("T5EncoderModel", "t5", F_LITE_T5_WIDTH, trained::t5_pieces().len(), 1);
    config["num_heads"] = 3.into();
    config["num_layers"] = 9.into();
    config
}

fn flux_transformer(variant: Variant) -> Value {
    json!({
        "_class_name": "FluxTransformer2DModel",
        "_diffusers_version": "0.30.0",
        "attention_head_dim": 16,
        "axes_dims_rope": [4, 6, 6],
        "guidance_embeds": variant != Variant::Schnell,
        "in_channels": if variant == Variant::Fill { 384 } else { 64 },
        "joint_attention_dim": T5_WIDTH,
        "num_attention_heads": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "out_channels": 64,
        "patch_size": 1,
        "pooled_projection_dim": CLIP_WIDTH,
    })
}

fn sd35_transformer() -> Value {
    json!({
        "_class_name": "SD3Transformer2DModel",
        "_diffusers_version": "0.30.0",
        "attention_head_dim": 16,
        "caption_projection_dim": 64,
        "dual_attention_layers": [],
        "in_channels": 16,
        "joint_attention_dim": SD35_T5_WIDTH,
        "num_attention_heads": 4,
        "num_layers": 4,
        "out_channels": 16,
        "patch_size": 2,
        "pooled_projection_dim": CLIP_L_WIDTH + CLIP_G_WIDTH,
        "pos_embed_max_size": SD35_SIDE,
        "qk_norm": "rms_norm",
        "sample_size": 2 * SD35_BASE,
    })
}

fn auraflow_transformer() -> Value {
    json!({
        "_class_name": "AuraFlowTransformer2DModel",
        "_diffusers_version": "0.30.0",
        "attention_head_dim": 16,
        "caption_projection_dim": 64,
        "in_channels": 4,
        "joint_attention_dim": UMT5_WIDTH,
        "num_attention_heads": 4,
        "num_mmdit_layers": 2,
        "num_single_dit_layers": 2,
        "out_channels": 4,
        "patch_size": 2,
        "pos_embed_max_size": 144,
        "sample_size": 16,
    })
}

fn f_lite_transformer() -> Value {
    json!({
        "_class_name": "DiT",
        "_diffusers_version": "0.33.1",
        "cross_attn_input_size": F_LITE_T5_WIDTH,
        "depth": 3,
        "dynamic_softmax_temperature": false,
        "gradient_checkpoint": false,
        "hidden_size": 48,
        "in_channels": 16,
        "mlp_ratio": 4.0,
        "num_heads": 3,
        "patch_size": 2,
        "residual_v": true,
        "rope_base": 10000,
        "train_bias_and_rms": false,
        "use_rope": true,
    })
}

pub(super) fn vae(variant: Variant) -> Value {
    let (channels, scaling, shift, convolutions) = match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill | Variant::FLite => (16, 0.3611, json!(0.1159), false),
        Variant::Sd35 => (16, 1.5305, json!(0.0609), false),
        Variant::AuraFlow => (4, 0.13025, Value::Null, true),
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast | Variant::OmniGen2 => {
            return hidream::vae();
        }
    };
    let (blocks, groups, sample) = match variant {
        Variant::FLite => ([8, 16, 16, 16], 4, 128),
        _ => ([16, 32, 32, 32], 8, 64),
    };
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.30.0",
        "act_fn": "silu",
        "block_out_channels": blocks,
        "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "force_upcast": true,
        "in_channels": 3,
        "latent_channels": channels,
        "layers_per_block": 1,
        "norm_num_groups": groups,
        "out_channels": 3,
        "sample_size": sample,
        "scaling_factor": scaling,
        "shift_factor": shift,
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "use_post_quant_conv": convolutions,
        "use_quant_conv": convolutions,
    })
}
