//! The JSON files beside the weights.

use serde_json::{Value, json};

use super::{File, Variant, tokenizers};

/// Width of the CLIP and T5 states, which the transformer's configuration repeats.
const CLIP_WIDTH: usize = 32;
const T5_WIDTH: usize = 48;

/// Every configuration of a FLUX pipeline.
pub(super) fn flux(variant: Variant) -> Vec<File> {
    vec![
        ("model_index.json", pretty(&model_index())),
        ("scheduler/scheduler_config.json", pretty(&scheduler(variant))),
        ("text_encoder/config.json", pretty(&clip())),
        ("text_encoder_2/config.json", pretty(&t5())),
        ("transformer/config.json", pretty(&transformer(variant))),
        ("vae/config.json", pretty(&vae())),
    ]
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn model_index() -> Value {
    json!({
        "_class_name": "FluxPipeline",
        "_diffusers_version": "0.30.0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

fn scheduler(variant: Variant) -> Value {
    let even = variant == Variant::Schnell;
    json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": "0.30.0",
        "base_image_seq_len": 256,
        "base_shift": 0.5,
        "max_image_seq_len": 4096,
        "max_shift": 1.15,
        "num_train_timesteps": 1000,
        "shift": if even { 1.0 } else { 3.0 },
        "use_dynamic_shifting": !even,
    })
}

pub(super) fn clip() -> Value {
    json!({
        "architectures": ["CLIPTextModel"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": "quick_gelu",
        "hidden_size": CLIP_WIDTH,
        "intermediate_size": 2 * CLIP_WIDTH,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 1,
        "projection_dim": CLIP_WIDTH,
        "vocab_size": tokenizers::clip_vocab().len(),
    })
}

pub(super) fn t5() -> Value {
    json!({
        "architectures": ["T5EncoderModel"],
        "d_ff": 2 * T5_WIDTH,
        "d_kv": 8,
        "d_model": T5_WIDTH,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": true,
        "layer_norm_epsilon": 1e-6,
        "model_type": "t5",
        "num_heads": 4,
        "num_layers": 2,
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": false,
        "vocab_size": tokenizers::t5_pieces().len(),
    })
}

pub(super) fn transformer(variant: Variant) -> Value {
    json!({
        "_class_name": "FluxTransformer2DModel",
        "_diffusers_version": "0.30.0",
        "attention_head_dim": 16,
        "axes_dims_rope": [4, 6, 6],
        "guidance_embeds": variant == Variant::Dev,
        "in_channels": 64,
        "joint_attention_dim": T5_WIDTH,
        "num_attention_heads": 4,
        "num_layers": 2,
        "num_single_layers": 2,
        "patch_size": 1,
        "pooled_projection_dim": CLIP_WIDTH,
    })
}

pub(super) fn vae() -> Value {
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.30.0",
        "act_fn": "silu",
        "block_out_channels": [16, 32, 32, 32],
        "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "force_upcast": true,
        "in_channels": 3,
        "latent_channels": 16,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "out_channels": 3,
        "sample_size": 64,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "use_post_quant_conv": false,
        "use_quant_conv": false,
    })
}
