//! Tiny safety checkers under the published names, from which diffusers and transformers made the golden tensors `checkers`.

use std::path::Path;

use scumble_engine::checkers::CheckerKind;
use scumble_engine::{Device, Pixels, Tensor};
use serde_json::{Value, json};

use super::adapters::{Tensors, write_files};
use super::weights::{Shapes, fill};

const WIDTH: usize = 32;
const WIDE: usize = 64;
const LAYERS: usize = 3;
const PROJECTION: usize = 24;

/// Sides of a picture and of a patch.
const fn sides(kind: CheckerKind) -> (usize, usize) {
    match kind {
        CheckerKind::CompVis => (28, 14),
        CheckerKind::Falconsai => (32, 16),
    }
}

/// Its tensors.
///
/// # Panics
/// Never: there are as many values as the shapes say.
#[expect(clippy::expect_used, reason = "as many values as the shape says")]
pub fn tensors(kind: CheckerKind) -> Tensors {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let values = fill(&format!("safety/{}/{name}", kind.name()), &name, &shape);
        let tensor = Tensor::from_vec(values, &shape[..], &Device::Cpu);
        (name, tensor.expect("as many values as the shape says"))
    };
    shapes(kind).into_iter().map(tensor).collect()
}

/// Its `config.json`.
pub fn config(kind: CheckerKind) -> Value {
    let (image, patch) = sides(kind);
    let tower = json!({
        "hidden_size": WIDTH, "intermediate_size": WIDE, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "image_size": image, "patch_size": patch,
    });
    match kind {
        CheckerKind::CompVis => {
            json!({ "model_type": "clip", "projection_dim": PROJECTION, "vision_config": tower })
        }
        CheckerKind::Falconsai => {
            let mut config = tower;
            config["id2label"] = json!({ "0": "normal", "1": "nsfw" });
            config["model_type"] = "vit".into();
            config
        }
    }
}

/// Its `preprocessor_config.json`, in the form that the publisher's has.
pub fn preprocessor(kind: CheckerKind) -> Value {
    let side = sides(kind).0;
    match kind {
        CheckerKind::CompVis => json!({
            "crop_size": side, "do_center_crop": true, "do_normalize": true, "do_resize": true,
            "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
            "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11], "resample": 3, "size": side,
        }),
        CheckerKind::Falconsai => json!({
            "do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5], "resample": 2, "rescale_factor": 0.003_921_568_627_450_98,
            "size": { "height": side, "width": side },
        }),
    }
}

/// Writes it as it is published.
///
/// # Panics
/// Where the folder cannot be written.
pub fn write(kind: CheckerKind, folder: &Path) {
    write_with(kind, folder, "model.safetensors", &tensors(kind));
}

/// The same with other tensors, in a file of this name.
///
/// # Panics
/// Where the folder cannot be written.
pub fn write_with(kind: CheckerKind, folder: &Path, name: &str, tensors: &Tensors) {
    write_files(folder, name, tensors, Some(&config(kind)), Some(&preprocessor(kind)));
}

/// CompVis' with one threshold for all concepts: 2 flags no picture, −2 every one.
///
/// # Panics
/// Never: there are as many values as the shape says.
#[expect(clippy::expect_used, reason = "as many values as the shape says")]
pub fn with_threshold(threshold: f32) -> Tensors {
    let mut tensors = tensors(CheckerKind::CompVis);
    let all = Tensor::from_vec(vec![threshold; 17], 17, &Device::Cpu).expect("as many values as the shape says");
    tensors.insert("concept_embeds_weights".into(), all);
    tensors
}

/// The picture of this size that golden tensors were recorded with.
pub fn picture(width: usize, height: usize) -> Pixels {
    let pixel = |i: usize| {
        let (x, y) = (i % width, i / width);
        [x * 7 + y * 3, x * x + y * 5, x * y * 3 + 40].map(|value| (value % 256) as u8)
    };
    Pixels { width, height, rgb: (0..width * height).flat_map(pixel).collect() }
}

fn shapes(kind: CheckerKind) -> Shapes {
    let (image, patch) = sides(kind);
    let tokens = (image / patch).pow(2) + 1;
    let mut shapes = Shapes::new();
    let mut add = |name: &str, shape: &[usize]| drop(shapes.insert(name.to_owned(), shape.to_vec()));
    match kind {
        CheckerKind::CompVis => {
            let model = "vision_model.vision_model";
            add("concept_embeds", &[17, PROJECTION]);
            add("concept_embeds_weights", &[17]);
            add("special_care_embeds", &[3, PROJECTION]);
            add("special_care_embeds_weights", &[3]);
            add("visual_projection.weight", &[PROJECTION, WIDTH]);
            add(&format!("{model}.embeddings.class_embedding"), &[WIDTH]);
            add(&format!("{model}.embeddings.patch_embedding.weight"), &[WIDTH, 3, patch, patch]);
            add(&format!("{model}.embeddings.position_embedding.weight"), &[tokens, WIDTH]);
            norm(&mut add, &format!("{model}.pre_layrnorm"));
            norm(&mut add, &format!("{model}.post_layernorm"));
            for i in 0..LAYERS {
                let layer = format!("{model}.encoder.layers.{i}");
                let linears = ["mlp.fc1", "mlp.fc2", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
                let linears = linears.into_iter().chain(["self_attn.out_proj"]);
                block(&mut add, &layer, linears, ["layer_norm1", "layer_norm2"]);
            }
        }
        CheckerKind::Falconsai => {
            add("vit.embeddings.cls_token", &[1, 1, WIDTH]);
            add("vit.embeddings.patch_embeddings.projection.weight", &[WIDTH, 3, patch, patch]);
            add("vit.embeddings.patch_embeddings.projection.bias", &[WIDTH]);
            add("vit.embeddings.position_embeddings", &[1, tokens, WIDTH]);
            add("classifier.weight", &[2, WIDTH]);
            add("classifier.bias", &[2]);
            norm(&mut add, "vit.layernorm");
            for i in 0..LAYERS {
                let attention = ["query", "key", "value"].map(|part| format!("attention.attention.{part}"));
                let linears = ["intermediate.dense", "output.dense"].into_iter();
                let linears = linears.chain(attention.iter().map(String::as_str)).chain(["attention.output.dense"]);
                block(&mut add, &format!("vit.encoder.layer.{i}"), linears, ["layernorm_before", "layernorm_after"]);
            }
        }
    }
    shapes
}

fn norm(add: &mut impl FnMut(&str, &[usize]), name: &str) {
    ["weight", "bias"].iter().for_each(|leaf| add(&format!("{name}.{leaf}"), &[WIDTH]));
}

/// Of its linear layers the first one is the way up, the second the way down.
fn block<'a>(
    add: &mut impl FnMut(&str, &[usize]),
    layer: &str,
    linears: impl Iterator<Item = &'a str>,
    norms: [&str; 2],
) {
    for (place, name) in linears.enumerate() {
        let (output, input) = match place {
            0 => (WIDE, WIDTH),
            1 => (WIDTH, WIDE),
            _ => (WIDTH, WIDTH),
        };
        add(&format!("{layer}.{name}.weight"), &[output, input]);
        add(&format!("{layer}.{name}.bias"), &[output]);
    }
    norms.iter().for_each(|name| norm(add, &format!("{layer}.{name}")));
}
