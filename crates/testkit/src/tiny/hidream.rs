//! HiDream-I1, with its own Llama beside the encoders of its repository.

use serde_json::{Value, json};

use scumble_engine::encoders::{Llama, LlamaConfig};
use scumble_engine::families::hidream::{HiDreamConfig, HiDreamTransformer};

use super::weights::{Component, asked, projected_clip, recorded, t5, vae_of};
use super::{File, Variant, configs, trained};

/// The files of every tokenizer.
pub(super) fn tokenizers() -> Vec<File> {
    [
        trained::clip("tokenizer", "<|endoftext|>"),
        trained::clip("tokenizer_2", "!"),
        trained::t5("tokenizer_3"),
        trained::llama("tokenizer_4"),
    ]
    .concat()
}

/// Every configuration.
pub(super) fn configs(variant: Variant) -> Vec<(&'static str, Value)> {
    let scheduler = scheduler(variant);
    let class = scheduler["_class_name"].as_str().expect("a scheduler has a class").to_owned();
    let parts = [
        ("scheduler", class.as_str()),
        ("text_encoder", "CLIPTextModelWithProjection"),
        ("text_encoder_2", "CLIPTextModelWithProjection"),
        ("text_encoder_3", "T5EncoderModel"),
        ("tokenizer", "CLIPTokenizer"),
        ("tokenizer_2", "CLIPTokenizer"),
        ("tokenizer_3", "T5Tokenizer"),
        ("transformer", "HiDreamImageTransformer2DModel"),
        ("vae", "AutoencoderKL"),
    ];
    vec![
        ("model_index.json", configs::model_index("HiDreamImagePipeline", &parts)),
        ("scheduler/scheduler_config.json", scheduler),
        ("text_encoder/config.json", clip_l()),
        ("text_encoder_2/config.json", clip_g()),
        ("text_encoder_3/config.json", t5_config()),
        ("text_encoder_4/config.json", llama()),
        ("transformer/config.json", transformer()),
        ("vae/config.json", vae()),
    ]
}

/// Every component with weights.
pub(super) fn components(variant: Variant, transformer: &Value) -> Vec<Component> {
    let transformer =
        asked(transformer, |config, w| HiDreamTransformer::load(&HiDreamConfig::read(config)?, w).map(drop));
    let tag = match variant {
        Variant::HiDreamDev => "hidream-dev.transformer",
        Variant::HiDreamFast => "hidream-fast.transformer",
        _ => "hidream-full.transformer",
    };
    let llama = asked(&llama(), |config, w| Llama::load(&LlamaConfig::read(config)?, w).map(drop));
    let parts = [
        Component::diffusers("transformer", tag, transformer),
        Component::transformers("text_encoder", "hd.clip1", projected_clip(&clip_l())),
        Component::transformers("text_encoder_2", "hd.clip2", projected_clip(&clip_g())),
        Component::transformers("text_encoder_3", "hd.t5", t5(&t5_config())),
        Component::transformers("text_encoder_4", "hd.llama", llama),
        Component::diffusers("vae", "hd.vae", vae_of(&vae())),
    ];
    parts.into_iter().map(|part| part.filled_by(recorded)).collect()
}

/// The layers of Llama that blocks read, where there is one block of each kind.
pub(super) fn layers_of_two_blocks() -> Value {
    json!([0, 2])
}

fn scheduler(variant: Variant) -> Value {
    match variant {
        Variant::HiDreamFull => json!({
            "_class_name": "UniPCMultistepScheduler",
            "_diffusers_version": "0.33.0",
            "disable_corrector": [],
            "final_sigmas_type": "zero",
            "flow_shift": 3.0,
            "lower_order_final": true,
            "num_train_timesteps": 1000,
            "predict_x0": true,
            "prediction_type": "flow_prediction",
            "solver_order": 2,
            "solver_type": "bh2",
            "thresholding": false,
            "timestep_spacing": "linspace",
            "use_flow_sigmas": true,
        }),
        _ => json!({
            "_class_name": "FlowMatchLCMScheduler",
            "_diffusers_version": "0.33.0",
            "base_image_seq_len": 256,
            "base_shift": 0.5,
            "invert_sigmas": false,
            "max_image_seq_len": 4096,
            "max_shift": 1.15,
            "num_train_timesteps": 1000,
            "shift": if variant == Variant::HiDreamDev { 6.0 } else { 3.0 },
            "time_shift_type": "exponential",
            "use_dynamic_shifting": false,
        }),
    }
}

fn clip_l() -> Value {
    clip(16, 2, 2, 248, "quick_gelu")
}

fn clip_g() -> Value {
    clip(24, 3, 3, 218, "gelu")
}

fn clip(width: usize, layers: usize, heads: usize, positions: usize, activation: &str) -> Value {
    json!({
        "architectures": ["CLIPTextModelWithProjection"],
        "bos_token_id": 0,
        "eos_token_id": 2,
        "hidden_act": activation,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": positions,
        "model_type": "clip_text_model",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "pad_token_id": 1,
        "projection_dim": width,
        "vocab_size": trained::clip_vocab().len(),
    })
}

fn t5_config() -> Value {
    json!({
        "architectures": ["T5EncoderModel"],
        "d_ff": 48,
        "d_kv": 8,
        "d_model": 24,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
        "model_type": "t5",
        "num_heads": 3,
        "num_layers": 2,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "vocab_size": trained::t5_pieces().len(),
    })
}

fn llama() -> Value {
    let ids = trained::llama_ids();
    json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": false,
        "bos_token_id": ids - 5,
        "eos_token_id": [ids - 1],
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": 131_072,
        "mlp_bias": false,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        "rope_theta": 500_000.0,
        "tie_word_embeddings": false,
        "vocab_size": ids,
    })
}

/// The same for all variants.
pub(super) fn transformer() -> Value {
    json!({
        "_class_name": "HiDreamImageTransformer2DModel",
        "_diffusers_version": "0.32.1",
        "attention_head_dim": 16,
        "axes_dims_rope": [8, 4, 4],
        "caption_channels": [24, 32],
        "in_channels": 16,
        "llama_layers": [0, 1, 2, 2],
        "max_resolution": [16, 16],
        "num_activated_experts": 2,
        "num_attention_heads": 2,
        "num_layers": 2,
        "num_routed_experts": 4,
        "num_single_layers": 2,
        "out_channels": 16,
        "patch_size": 2,
        "text_emb_dim": 40,
    })
}

pub(super) fn vae() -> Value {
    json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.32.1",
        "act_fn": "silu",
        "block_out_channels": [8, 16, 16, 16],
        "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "force_upcast": true,
        "in_channels": 3,
        "latent_channels": 16,
        "layers_per_block": 1,
        "mid_block_add_attention": true,
        "norm_num_groups": 4,
        "out_channels": 3,
        "sample_size": 128,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "use_post_quant_conv": false,
        "use_quant_conv": false,
    })
}
