//! The loaders ask for exactly the tensors that the published checkpoints hold.
//!
//! `tensors/*.json.gz` list `{name: shape}` of the released files. With the released configurations every loader is run
//! against a recorder, which has no weights but writes down what it is asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use scumble_engine::encoders::{ClipConfig, ClipText, SiglipConfig, SiglipVision, T5Config, T5Encoder};
use scumble_engine::families::auraflow::{AuraConfig, AuraTransformer};
use scumble_engine::families::flux::{FluxConfig, FluxTransformer};
use scumble_engine::families::sd35::{
    ControlNetConfig, IpAdapterConfig, ResamplerConfig, Sd35Config, Sd35ControlNet, Sd35IpAdapter, Sd35Transformer,
};
use scumble_engine::vae::{Vae, VaeConfig};
use scumble_engine::weights::{Config, Named, Weights, renamed};
use serde_json::{Value, json};

type Shapes = BTreeMap<String, Vec<usize>>;

#[test]
fn flux_dev_transformer() {
    let config = FluxConfig::read(&config(json!({ "guidance_embeds": true }))).unwrap();
    check("flux1-dev__transformer", |_| false, |w| FluxTransformer::load(&config, w).map(drop));
}

#[test]
fn flux_fill_transformer() {
    let published = json!({ "guidance_embeds": true, "in_channels": 384, "out_channels": 64 });
    let config = FluxConfig::read(&config(published)).unwrap();
    check("flux1-fill-dev__transformer", |_| false, |w| FluxTransformer::load(&config, w).map(drop));
}

#[test]
fn flux_schnell_transformer() {
    let config = FluxConfig::read(&config(json!({ "guidance_embeds": false }))).unwrap();
    check("flux1-schnell__transformer", |_| false, |w| FluxTransformer::load(&config, w).map(drop));
}

#[test]
fn sd35_transformer() {
    let config = Sd35Config::read(&config(json!({}))).unwrap();
    check("sd35-large__transformer", |_| false, |w| Sd35Transformer::load(&config, w).map(drop));
}

#[test]
fn sd35_text_encoders() {
    let l = ClipConfig::read(&config(json!({ "projection_dim": 768 }))).unwrap();
    check("sd35-large__text_encoder", ClipText::ignores, |w| ClipText::load_projected(&l, w).map(drop));
    let g = ClipConfig::read(&config(json!({
        "hidden_act": "gelu",
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_attention_heads": 20,
        "num_hidden_layers": 32,
        "projection_dim": 1280,
    })));
    let g = g.unwrap();
    check("sd35-large__text_encoder_2", ClipText::ignores, |w| ClipText::load_projected(&g, w).map(drop));
}

/// In one file of the publisher, and as diffusers stores it.
#[test]
fn sd35_controlnet() {
    let config = ControlNetConfig { blocks: 19, heads: 38, head_width: 64, channels: 16, pooled_width: 2048 };
    let load = |w: &Weights| Sd35ControlNet::load(&config, w).map(drop);
    for listing in ["sd35-large__controlnet", "sd35-large__controlnet.original"] {
        check_renamed(listing, Sd35ControlNet::name, |name| name == "control_type", load);
    }
}

#[test]
fn sd35_ip_adapter() {
    let resampler =
        ResamplerConfig { encoder: 1152, hidden: 1280, queries: 64, layers: 4, inner: 1280, wide: 5120, sinusoid: 320 };
    let config = IpAdapterConfig { resampler, blocks: 38, heads: 38, head_width: 64 };
    let load = |w: &Weights| Sd35IpAdapter::load(&config, w).map(drop);
    for listing in ["sd35-large__ip_adapter", "sd35-large__ip_adapter.original"] {
        check_renamed(listing, Sd35IpAdapter::name, |_| false, load);
    }
}

#[test]
fn siglip_so400m() {
    let config =
        SiglipConfig { hidden: 1152, intermediate: 4304, layers: 27, heads: 16, image: 384, patch: 14, eps: 1e-6 };
    let ignores = |name: &str| SiglipVision::ignores(&config, name);
    let load = |w: &Weights| SiglipVision::load(&config, w).map(drop);
    check_renamed("sd35-large__ip_adapter_image_encoder", SiglipVision::name, ignores, load);
}

#[test]
fn auraflow_transformer() {
    let config = AuraConfig::read(&config(json!({}))).unwrap();
    check("auraflow-v0.3__transformer", |_| false, |w| AuraTransformer::load(&config, w).map(drop));
}

#[test]
fn umt5() {
    let config = T5Config::read(&config(json!({
        "d_ff": 5120,
        "d_kv": 64,
        "d_model": 2048,
        "model_type": "umt5",
        "num_heads": 32,
        "num_layers": 24,
    })));
    let config = config.unwrap();
    check("auraflow-v0.3__text_encoder", T5Encoder::ignores, |w| T5Encoder::load(&config, w).map(drop));
}

#[test]
fn auraflow_autoencoder() {
    let config = VaeConfig::read(&config(json!({ "latent_channels": 4, "scaling_factor": 0.13025 }))).unwrap();
    check("auraflow-v0.3__vae", |_| false, |w| Vae::load(&config, w).map(drop));
}

#[test]
fn clip_l() {
    let config = ClipConfig::read(&config(json!({}))).unwrap();
    check("flux1__text_encoder", ClipText::ignores, |w| ClipText::load(&config, w).map(drop));
}

/// FLUX's `text_encoder_2` and SD3.5's `text_encoder_3`.
#[test]
fn t5_xxl() {
    let config = T5Config::read(&config(json!({}))).unwrap();
    check("flux1__text_encoder_2", T5Encoder::ignores, |w| T5Encoder::load(&config, w).map(drop));
}

/// FLUX's and SD3.5's have the same shapes and other numbers.
#[test]
fn autoencoder_of_sixteen_channels() {
    let published = json!({
        "block_out_channels": [128, 256, 512, 512],
        "latent_channels": 16,
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_post_quant_conv": false,
        "use_quant_conv": false,
    });
    let config = VaeConfig::read(&config(published)).unwrap();
    check("flux1__vae", |_| false, |w| Vae::load(&config, w).map(drop));
}

/// Names and shapes asked for must be those listed, but for names that the loader says it ignores.
fn check(listing: &str, ignores: fn(&str) -> bool, load: impl Fn(&Weights) -> scumble_engine::Result<()>) {
    check_renamed(listing, |name| Named::As(name.to_owned()), ignores, load);
}

/// The same for files whose names a model knows under others.
fn check_renamed(
    listing: &str,
    rule: impl Fn(&str) -> Named,
    ignores: impl Fn(&str) -> bool,
    load: impl Fn(&Weights) -> scumble_engine::Result<()>,
) {
    let recorder = Weights::recorder();
    load(&recorder).expect("a recorder has everything");
    let asked = recorder.asked();
    let mut published = renamed(&published(listing), rule);
    published.retain(|name, _| !ignores(name));
    let wrong: Vec<String> = published
        .keys()
        .chain(asked.keys())
        .filter(|name| published.get(*name) != asked.get(*name))
        .map(|name| format!("{name}: published {:?}, asked for {:?}", published.get(name), asked.get(name)))
        .collect();
    assert!(wrong.is_empty(), "{listing}:\n{}", wrong.join("\n"));
    assert!(asked.len() > 100, "the listing is whole");
}

fn published(listing: &str) -> Shapes {
    let path: PathBuf = ["tests", "tensors", &format!("{listing}.json.gz")].iter().collect();
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("the listing");
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
    serde_json::from_str(&text).expect("names and shapes")
}

#[expect(clippy::needless_pass_by_value, reason = "reads better with a literal")]
fn config(values: Value) -> Config {
    Config::parse("published".into(), values.to_string().as_bytes()).expect("a JSON object")
}
