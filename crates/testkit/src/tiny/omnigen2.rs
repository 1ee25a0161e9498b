//! OmniGen2, with what of its Qwen2.5-VL reads text and a part of what sees.

use serde_json::{Value, json};

use scumble_engine::encoders::{Llama, LlamaConfig};
use scumble_engine::families::omnigen2::{OmniGen2Config, OmniGen2Transformer};

use super::weights::{Component, asked, recorded, vae_of};
use super::{hidream, trained};

/// Every configuration.
pub(super) fn configs() -> Vec<(&'static str, Value)> {
    let index = json!({
        "_class_name": "OmniGen2Pipeline",
        "_diffusers_version": "0.33.1",
        "mllm": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "processor": ["transformers", "Qwen2_5_VLProcessor"],
        "scheduler": ["scheduling_flow_match_euler_discrete_time_shifting", "FlowMatchEulerDiscreteScheduler"],
        "transformer": ["transformer_omnigen2", "OmniGen2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    let scheduler = json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler",
        "_diffusers_version": "0.33.1",
        "dynamic_time_shift": true,
        "num_train_timesteps": 1000,
    });
    vec![
        ("model_index.json", index),
        ("mllm/config.json", mllm()),
        ("scheduler/scheduler_config.json", scheduler),
        ("transformer/config.json", transformer()),
        ("vae/config.json", hidream::vae()),
    ]
}

/// Every component with weights.
pub(super) fn components(transformer: &Value) -> Vec<Component> {
    let transformer =
        asked(transformer, |config, w| OmniGen2Transformer::load(&OmniGen2Config::read(config)?, w).map(drop));
    let mut mllm = asked(&mllm(), |config, w| Llama::load(&LlamaConfig::read_qwen(config)?, w).map(drop));
    // nothing here looks at pictures with it
    mllm.insert("visual.patch_embed.proj.weight".into(), vec![16, 3, 2, 14, 14]);
    mllm.insert("visual.merger.mlp.0.bias".into(), vec![64]);
    let parts = [
        Component::diffusers("transformer", "og2.transformer", transformer),
        Component::transformers("mllm", "og2.mllm", mllm),
        Component::diffusers("vae", "og2.vae", vae_of(&hidream::vae())),
    ];
    parts.into_iter().map(|part| part.filled_by(recorded)).collect()
}

fn mllm() -> Value {
    json!({
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "max_position_embeddings": 128_000,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_scaling": { "mrope_section": [1, 1, 2], "type": "mrope" },
        "rope_theta": 1_000_000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": true,
        "use_sliding_window": false,
        "vision_config": { "depth": 2, "hidden_size": 16, "model_type": "qwen2_5_vl", "num_heads": 2 },
        "vocab_size": trained::qwen_ids(),
    })
}

pub(super) fn transformer() -> Value {
    json!({
        "_class_name": "OmniGen2Transformer2DModel",
        "_diffusers_version": "0.33.1",
        "axes_dim_rope": [4, 2, 2],
        "axes_lens": [1024, 1664, 1664],
        "ffn_dim_multiplier": null,
        "hidden_size": 48,
        "in_channels": 16,
        "multiple_of": 80,
        "norm_eps": 1e-5,
        "num_attention_heads": 6,
        "num_kv_heads": 2,
        "num_layers": 3,
        "num_refiner_layers": 2,
        "out_channels": null,
        "patch_size": 2,
        "text_feat_dim": 32,
        "timestep_scale": 1000.0,
    })
}
