//! What people attach to the tiny Stable Diffusion 3.5: a ControlNet, an IP-Adapter and its image encoder, from which
//! diffusers made the golden tensors `sd35-controlnet` and `sd35-ip-adapter`.

use std::collections::BTreeMap;
use std::path::Path;

use scumble_engine::Tensor;
use scumble_engine::adapters::AdapterFiles;
use scumble_engine::encoders::{SiglipConfig, SiglipVision};
use scumble_engine::families::sd35::{
    ControlNetConfig, IpAdapterConfig, ResamplerConfig, Sd35ControlNet, Sd35IpAdapter,
};
use serde_json::{Value, json};

use super::weights::{Shapes, asked_with, fill, save};
use super::{Variant, configs, torch, write};

/// Width of the image encoder's states.
const ENCODER: usize = 24;

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// The tiny ControlNet: its tensors under diffusers' names.
pub fn controlnet() -> Tensors {
    let transformer = configs::transformer(Variant::Sd35);
    let size = |key: &str| transformer[key].as_u64().expect("a size") as usize;
    let config = ControlNetConfig {
        blocks: 2,
        heads: size("num_attention_heads"),
        head_width: size("attention_head_dim"),
        channels: size("in_channels"),
        pooled_width: size("pooled_projection_dim"),
    };
    filled(&asked_with(|w| Sd35ControlNet::load(&config, w).map(drop)), |name| ("sd35/controlnet".into(), name))
}

/// The `config.json` of the tiny ControlNet.
pub fn controlnet_config() -> Value {
    let transformer = configs::transformer(Variant::Sd35);
    json!({
        "_class_name": "SD3ControlNetModel",
        "attention_head_dim": transformer["attention_head_dim"],
        "caption_projection_dim": 64,
        "dual_attention_layers": [],
        "extra_conditioning_channels": 0,
        "force_zeros_for_pooled_projection": false,
        "in_channels": transformer["in_channels"],
        "joint_attention_dim": null,
        "num_attention_heads": transformer["num_attention_heads"],
        "num_layers": 2,
        "out_channels": transformer["out_channels"],
        "patch_size": 2,
        "pooled_projection_dim": transformer["pooled_projection_dim"],
        "pos_embed_max_size": null,
        "pos_embed_type": null,
        "qk_norm": null,
        "sample_size": 16,
        "use_pos_embed": false,
    })
}

/// The tiny IP-Adapter: its tensors under diffusers' names.
pub fn ip_adapter() -> Tensors {
    let transformer = configs::transformer(Variant::Sd35);
    let size = |key: &str| transformer[key].as_u64().expect("a size") as usize;
    let resampler =
        ResamplerConfig { encoder: ENCODER, hidden: 64, queries: 5, layers: 4, inner: 64, wide: 256, sinusoid: 32 };
    let config = IpAdapterConfig {
        resampler,
        blocks: size("num_layers"),
        heads: size("num_attention_heads"),
        head_width: size("attention_head_dim"),
    };
    filled(&asked_with(|w| Sd35IpAdapter::load(&config, w).map(drop)), |name| {
        match name.strip_prefix("ip_adapter.").and_then(|rest| rest.split_once('.')) {
            Some((block, parameter)) => (format!("sd35/ip{block}"), parameter),
            None => ("sd35/ip_proj".into(), name.strip_prefix("image_proj.").unwrap_or(name)),
        }
    })
}

/// The tiny SigLIP vision tower, whole, with the names that transformers 5 writes.
pub fn image_encoder() -> Tensors {
    let layers = 3;
    let config = SiglipConfig {
        hidden: ENCODER,
        intermediate: 2 * ENCODER,
        layers: layers + 1,
        heads: 4,
        image: 28,
        patch: 14,
        eps: 1e-6,
    };
    // the engine leaves out the last layer and what follows
    let mut shapes = asked_with(|w| SiglipVision::load(&config, w).map(drop));
    let head = [
        ("post_layernorm.weight", vec![ENCODER]),
        ("post_layernorm.bias", vec![ENCODER]),
        ("head.probe", vec![1, 1, ENCODER]),
        ("head.attention.in_proj_weight", vec![3 * ENCODER, ENCODER]),
        ("head.layernorm.weight", vec![ENCODER]),
    ];
    shapes.extend(head.map(|(name, shape)| (name.to_owned(), shape)));
    filled(&shapes, |name| ("sd35/siglip".into(), name))
}

/// The `config.json` of the tiny image encoder.
pub fn image_encoder_config() -> Value {
    json!({
        "architectures": ["SiglipVisionModel"],
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": ENCODER,
        "image_size": 28,
        "intermediate_size": 2 * ENCODER,
        "layer_norm_eps": 1e-6,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 4,
        "num_channels": 3,
        "num_hidden_layers": 3,
        "patch_size": 14,
    })
}

/// The `preprocessor_config.json` of the tiny image encoder.
pub fn preprocessor_config() -> Value {
    json!({
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 0.003_921_568_627_450_98,
        "size": { "height": 28, "width": 28 },
    })
}

/// Writes `folder/name.safetensors`, or a `.bin` as torch writes it, where the name ends so; beside it the configurations
/// that are given.
///
/// # Panics
/// Where the folder cannot be written.
pub fn write_files(
    folder: &Path,
    name: &str,
    tensors: &Tensors,
    config: Option<&Value>,
    preprocessor: Option<&Value>,
) -> AdapterFiles {
    let path = folder.join(name);
    if Path::new(name).extension().is_some_and(|extension| extension == "bin") {
        write(&path, &torch::archive(tensors));
    } else {
        save(&path, &tensors.iter().map(|(name, tensor)| (&**name, tensor.clone())).collect::<Vec<_>>());
    }
    let beside = |name: &str, value: &Value| {
        let path = folder.join(name);
        write(&path, configs::pretty(value).as_bytes());
        path
    };
    AdapterFiles {
        name: format!("tests/{}", name.split('.').next().unwrap_or(name)),
        weights: vec![path],
        config: config.map(|value| beside("config.json", value)),
        preprocessor: preprocessor.map(|value| beside("preprocessor_config.json", value)),
    }
}

/// The tiny ControlNet in a folder, as diffusers saves it.
///
/// # Panics
/// Where the folder cannot be written.
pub fn write_controlnet(folder: &Path) -> AdapterFiles {
    let name = "diffusion_pytorch_model.safetensors";
    write_files(folder, name, &controlnet(), Some(&controlnet_config()), None)
}

/// The tiny IP-Adapter in a folder, in one safetensors file.
///
/// # Panics
/// Where the folder cannot be written.
pub fn write_ip_adapter(folder: &Path) -> AdapterFiles {
    write_files(folder, "ip_adapter.safetensors", &ip_adapter(), None, None)
}

/// The tiny image encoder in a folder, as transformers saves it.
///
/// # Panics
/// Where the folder cannot be written.
pub fn write_image_encoder(folder: &Path) -> AdapterFiles {
    let (config, preprocessor) = (image_encoder_config(), preprocessor_config());
    write_files(folder, "model.safetensors", &image_encoder(), Some(&config), Some(&preprocessor))
}

/// A part of the names of a ControlNet under the publisher's names: fused matrices, other words.
///
/// # Panics
/// For tensors that are no ControlNet.
pub fn original_controlnet(tensors: &Tensors) -> Tensors {
    let mut result = Tensors::new();
    for (name, tensor) in tensors {
        if name.contains("attn.to_k") || name.contains("attn.to_v") {
            continue;
        }
        if let Some((block, kind)) = name.split_once("attn.to_q.") {
            let parts = ["q", "k", "v"].map(|which| &tensors[&format!("{block}attn.to_{which}.{kind}")]);
            let fused = Tensor::cat(&parts, 0).expect("matrices of one width");
            result.insert(format!("{block}attn.qkv.{kind}"), fused);
            continue;
        }
        let mut original = name.clone();
        let words = [
            ("attn.to_out.0", "attn.proj"),
            ("ff.net.0.proj", "mlp.fc1"),
            ("ff.net.2", "mlp.fc2"),
            ("norm1.linear", "adaLN_modulation.1"),
        ];
        words.into_iter().for_each(|(new, old)| original = original.replace(new, old));
        result.insert(original, tensor.clone());
    }
    result
}

/// An IP-Adapter under the publisher's names.
pub fn original_ip_adapter(tensors: &Tensors) -> Tensors {
    let words = [
        (".ln0.", ".0.norm1."),
        (".ln1.", ".0.norm2."),
        (".attn.to_q.", ".0.to_q."),
        (".attn.to_kv.", ".0.to_kv."),
        (".attn.to_out.0.", ".0.to_out."),
        (".adaln_norm.", ".1.0."),
        (".ff.net.0.proj.", ".1.1."),
        (".ff.net.2.", ".1.3."),
        (".adaln_proj.", ".2.1."),
    ];
    let original = |name: &str| {
        let mut name = name.to_owned();
        if name.starts_with("image_proj.layers.") {
            words.into_iter().for_each(|(new, old)| name = name.replace(new, old));
        }
        name
    };
    tensors.iter().map(|(name, tensor)| (original(name), tensor.clone())).collect()
}

/// The picture that the golden IP-Adapter follows.
pub fn followed() -> scumble_engine::Pixels {
    super::picture(40, 40)
}

/// The variant that they belong to.
pub const BASE: Variant = Variant::Sd35;

fn filled<'a>(shapes: &'a Shapes, seed: impl Fn(&'a str) -> (String, &'a str)) -> Tensors {
    let tensor = |(name, shape): (&'a String, &Vec<usize>)| {
        let (tag, parameter) = seed(name);
        let values = fill(&format!("{tag}/{parameter}"), parameter, shape);
        let tensor = Tensor::from_vec(values, &shape[..], &scumble_engine::Device::Cpu);
        (name.clone(), tensor.expect("as many values as the shape says"))
    };
    shapes.iter().map(tensor).collect()
}
