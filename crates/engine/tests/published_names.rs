//! The loaders ask for exactly the tensors that the published checkpoints hold.
//!
//! `tensors/*.json.gz` list `{name: shape}` of the released files. With the released configurations every loader is run
//! against a recorder, which has no weights but writes down what it is asked for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use scumble_engine::checkers::{CompVis, CompVisConfig, Falconsai, FalconsaiConfig};
use scumble_engine::encoders::{
    ClipConfig, ClipText, Llama, LlamaConfig, SiglipConfig, SiglipVision, T5Config, T5Encoder,
};
use scumble_engine::families::auraflow::{self, AuraConfig, AuraTransformer};
use scumble_engine::families::f_lite::{FLiteConfig, FLiteTransformer};
use scumble_engine::families::flux::{self, FluxConfig, FluxTransformer};
use scumble_engine::families::hidream::{HiDreamConfig, HiDreamTransformer};
use scumble_engine::families::names::{Names, Original};
use scumble_engine::families::omnigen2::{OmniGen2Config, OmniGen2Transformer};
use scumble_engine::families::sd35::{
    self, ControlNetConfig, IpAdapterConfig, ResamplerConfig, Sd35Config, Sd35ControlNet, Sd35IpAdapter,
    Sd35Transformer,
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
fn compvis_checker() {
    let config = CompVisConfig::read(&config(json!({
        "projection_dim": 768,
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": 14,
        },
    })));
    let config = config.unwrap();
    let ignores = |name: &str| name.ends_with("position_ids");
    check_renamed("safety__compvis_checker", CompVis::name, ignores, |w| CompVis::load(&config, w).map(drop));
}

#[test]
fn falconsai_checker() {
    let config = FalconsaiConfig::read(&config(json!({ "id2label": { "0": "normal", "1": "nsfw" } }))).unwrap();
    check_renamed("safety__falconsai_vit", Falconsai::name, |_| false, |w| Falconsai::load(&config, w).map(drop));
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
fn hidream_transformer() {
    let config = HiDreamConfig::read(&config(json!({}))).unwrap();
    check("hidream-i1__transformer", |_| false, |w| HiDreamTransformer::load(&config, w).map(drop));
}

#[test]
fn hidream_text_encoders() {
    let long = |positions: usize| json!({ "eos_token_id": 2, "max_position_embeddings": positions });
    let l = ClipConfig::read(&config(long(248))).unwrap();
    check("hidream-i1__text_encoder", ClipText::ignores, |w| ClipText::load_projected(&l, w).map(drop));
    let mut g = long(218);
    for (key, value) in [
        ("hidden_size", 1280),
        ("intermediate_size", 5120),
        ("num_attention_heads", 20),
        ("num_hidden_layers", 32),
        ("projection_dim", 1280),
    ] {
        g[key] = value.into();
    }
    g["hidden_act"] = "gelu".into();
    let g = ClipConfig::read(&config(g)).unwrap();
    check("hidream-i1__text_encoder_2", ClipText::ignores, |w| ClipText::load_projected(&g, w).map(drop));
    let t5 = T5Config::read(&config(json!({}))).unwrap();
    check("hidream-i1__text_encoder_3", T5Encoder::ignores, |w| T5Encoder::load(&t5, w).map(drop));
}

#[test]
fn llama_3_1() {
    let config = LlamaConfig::read(&config(json!({}))).unwrap();
    check("hidream-i1__text_encoder_4", Llama::ignores, |w| Llama::load(&config, w).map(drop));
}

#[test]
fn omnigen2_transformer() {
    let config = OmniGen2Config::read(&config(json!({}))).unwrap();
    check("omnigen2__transformer", |_| false, |w| OmniGen2Transformer::load(&config, w).map(drop));
}

/// What sees is listed and not asked for; what reads is asked for to the last tensor.
#[test]
fn qwen_2_5_vl() {
    let config = LlamaConfig::read_qwen(&config(json!({}))).unwrap();
    check("omnigen2__mllm", Llama::ignores_sight, |w| Llama::load(&config, w).map(drop));
    let (seen, read): (Vec<_>, Vec<_>) =
        published("omnigen2__mllm").into_keys().partition(|n| n.starts_with("visual."));
    assert_eq!((seen.len(), read.len()), (390, 434));
}

#[test]
fn clip_l() {
    let config = ClipConfig::read(&config(json!({}))).unwrap();
    check("flux1__text_encoder", ClipText::ignores, |w| ClipText::load(&config, w).map(drop));
}

/// FLUX's `text_encoder_2` and SD3.5's `text_encoder_3`.
/// The listing has the tables of positions, which a file may hold or not: the loader asks where they are.
#[test]
fn f_lite_transformers() {
    let tables = |name: &str| name.starts_with("rope.freqs_hw_");
    for (listing, depth) in [("f-lite__dit_model", 40), ("f-lite-7b__dit_model", 28)] {
        let config = FLiteConfig::read(&config(json!({ "depth": depth }))).unwrap();
        check(listing, tables, |w| FLiteTransformer::load(&config, w).map(drop));
        let stored: Vec<_> = published(listing).into_iter().filter(|(name, _)| tables(name)).collect();
        let half = config.width / config.heads / 2;
        assert!(stored.len() == 2 && stored.iter().all(|(_, shape)| *shape == [512, 512, half]), "{stored:?}");
    }
}

/// Of the last seven blocks nothing is computed; they are asked for all the same.
#[test]
fn f_lite_text_encoder_and_autoencoder() {
    let t5 = T5Config::read(&config(json!({}))).unwrap();
    check("f-lite__text_encoder", T5Encoder::ignores, |w| T5Encoder::load_first(&t5, 17, w).map(drop));
    let published = json!({
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_post_quant_conv": false,
        "use_quant_conv": false,
    });
    let vae = VaeConfig::read(&config(published)).unwrap();
    check("f-lite__vae", |_| false, |w| Vae::load(&vae, w).map(drop));
}

#[test]
fn t5_xxl() {
    let config = T5Config::read(&config(json!({}))).unwrap();
    check("flux1__text_encoder_2", T5Encoder::ignores, |w| T5Encoder::load(&config, w).map(drop));
}

/// FLUX's, HiDream-I1's, OmniGen2's and SD3.5's have the same shapes and other numbers.
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
    check("hidream-i1__vae", |_| false, |w| Vae::load(&config, w).map(drop));
    check("omnigen2__vae", |_| false, |w| Vae::load(&config, w).map(drop));
}

// ---------------------------------------------------------------------------------------- publishers' own files

/// Every tensor of the publishers' single files is reached, with its shape, by the table of names.
#[test]
fn the_publishers_own_names_are_reached_from_those_of_diffusers() {
    let flux = |values| {
        let config = FluxConfig::read(&config(values)).unwrap();
        asked(|w| FluxTransformer::load(&config, w).map(drop))
    };
    let fill = json!({ "guidance_embeds": true, "in_channels": 384, "out_channels": 64 });
    let dev = flux(json!({ "guidance_embeds": true }));
    check_originals("flux1-dev__transformer", &flux::NAMES, &dev);
    check_originals("flux1-schnell__transformer", &flux::NAMES, &flux(json!({ "guidance_embeds": false })));
    check_originals("flux1-fill-dev__transformer", &flux::NAMES, &flux(fill));
    let config = Sd35Config::read(&config(json!({}))).unwrap();
    let sd35 = asked(|w| Sd35Transformer::load(&config, w).map(drop));
    check_originals("sd35-large__checkpoint", &sd35::NAMES, &sd35);
    let config = AuraConfig::read(&self::config(json!({}))).unwrap();
    let aura = asked(|w| AuraTransformer::load(&config, w).map(drop));
    check_originals("auraflow-v0.3__checkpoint", &auraflow::NAMES, &aura);
}

/// Shapes cannot tell these.
#[test]
fn the_order_of_rows_is_the_publishers() {
    let sd35 = Sd35Config::read(&config(json!({}))).unwrap();
    let sd35 = sd35::NAMES.originals(&asked(|w| Sd35Transformer::load(&sd35, w).map(drop)));
    let flux = FluxConfig::read(&config(json!({}))).unwrap();
    let flux = flux::NAMES.originals(&asked(|w| FluxTransformer::load(&flux, w).map(drop)));
    let aura = AuraConfig::read(&config(json!({}))).unwrap();
    let aura = auraflow::NAMES.originals(&asked(|w| AuraTransformer::load(&aura, w).map(drop)));
    let parts = |of: &BTreeMap<String, Original>, name: &str| -> Vec<String> {
        of[name].parts.iter().map(|part| part.name.rsplit('.').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(parts(&flux, "single_blocks.37.linear1.weight"), ["to_q", "to_k", "to_v", "proj_mlp"]);
    assert_eq!(parts(&flux, "double_blocks.0.img_attn.qkv.bias"), ["to_q", "to_k", "to_v"]);
    assert_eq!(parts(&flux, "double_blocks.18.txt_attn.qkv.weight"), ["add_q_proj", "add_k_proj", "add_v_proj"]);
    assert_eq!(
        parts(&sd35, "joint_blocks.37.context_block.attn.qkv.weight"),
        ["add_q_proj", "add_k_proj", "add_v_proj"]
    );
    assert_eq!(parts(&aura, "double_layers.0.attn.w1q.weight"), ["add_q_proj"]);
    assert_eq!(parts(&aura, "single_layers.0.attn.w1q.weight"), ["to_q"]);
    let swapped = |of: &BTreeMap<String, Original>| -> Vec<String> {
        of.iter().filter(|(_, original)| original.swapped).map(|(name, _)| name.clone()).collect()
    };
    let last = ["final_layer.adaLN_modulation.1.bias", "final_layer.adaLN_modulation.1.weight"];
    let text = "joint_blocks.37.context_block.adaLN_modulation.1";
    assert_eq!(swapped(&flux), last);
    assert_eq!(swapped(&sd35), [last[0], last[1], &format!("{text}.bias"), &format!("{text}.weight")]);
    assert_eq!(swapped(&aura), ["modF.1.weight"]);
}

fn check_originals(listing: &str, names: &Names, ours: &Shapes) {
    let found = names.originals(ours);
    let mut published = published(&format!("{listing}.original"));
    // the same file may hold other components, below other names
    let others = ["first_stage_model.", "vae.", "text_encoders."];
    published.retain(|name, _| !others.iter().any(|other| name.starts_with(other)));
    let found_shapes: Shapes =
        found.iter().map(|(name, original)| (format!("{}{name}", names.prefix), original.shape.clone())).collect();
    let wrong: Vec<&String> = published
        .keys()
        .chain(found_shapes.keys())
        .filter(|name| published.get(*name) != found_shapes.get(*name))
        .collect();
    assert!(wrong.is_empty(), "{listing}: {wrong:?}");
    let mut parts: Vec<&str> = found.values().flat_map(|original| &original.parts).map(|part| &*part.name).collect();
    parts.sort_unstable();
    assert!(parts.iter().copied().eq(ours.keys().map(String::as_str)), "{listing}: each of ours is in one of theirs");
}

fn asked(load: impl Fn(&Weights) -> scumble_engine::Result<()>) -> Shapes {
    let recorder = Weights::recorder();
    load(&recorder).expect("a recorder has everything");
    recorder.asked()
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
    let asked = asked(load);
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
