//! Weights that depend only on a tag, a name and a shape.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use scumble_engine::encoders::{ClipConfig, ClipText, T5Config, T5Encoder};
use scumble_engine::families::auraflow::{AuraConfig, AuraTransformer};
use scumble_engine::families::f_lite::{FLiteConfig, FLiteTransformer};
use scumble_engine::families::flux::{FluxConfig, FluxTransformer};
use scumble_engine::families::sd35::{Sd35Config, Sd35Transformer};
use scumble_engine::rng::Generator;
use scumble_engine::vae::{Vae, VaeConfig};
use scumble_engine::weights::{Config, Weights};
use scumble_engine::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::configs::SD35_BASE;
use super::{Variant, configs, hidream, omnigen2, write};

/// The weights of one folder of a pipeline.
pub(super) struct Component {
    pub(super) folder: &'static str,
    /// Base name of its files.
    base: &'static str,
    /// Put in front of each parameter's name to seed it.
    tag: &'static str,
    /// What files put in front of the names that the parameters have in Python.
    prefix: &'static str,
    /// Names in files and shapes: whatever the engine asks for.
    pub(super) shapes: Shapes,
    /// What its tensors hold: from what seeds them, the parameter's name and the shape.
    fill: fn(&str, &str, &[usize]) -> Vec<f32>,
}

/// Names and shapes.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

impl Component {
    /// Every component with weights, by asking the engine's own loaders.
    pub(super) fn of(variant: Variant) -> Vec<Self> {
        Self::with(variant, &configs::transformer(variant))
    }

    /// The same with another transformer.
    pub(super) fn with(variant: Variant, transformer: &Value) -> Vec<Self> {
        match variant {
            Variant::Schnell | Variant::Dev | Variant::Fill => Self::flux(variant, transformer),
            Variant::Sd35 => Self::sd35(transformer),
            Variant::AuraFlow => Self::auraflow(transformer),
            Variant::FLite => Self::f_lite(transformer),
            Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => {
                hidream::components(variant, transformer)
            }
            Variant::OmniGen2 => omnigen2::components(transformer),
        }
    }

    fn flux(variant: Variant, transformer: &Value) -> Vec<Self> {
        let transformer =
            asked(transformer, |config, w| FluxTransformer::load(&FluxConfig::read(config)?, w).map(drop));
        vec![
            Self::diffusers("transformer", variant.name(), transformer),
            Self { prefix: "text_model.", ..Self::transformers("text_encoder", "flux/clip", clip(&configs::clip())) },
            Self::transformers("text_encoder_2", "flux/t5", t5(&configs::t5())),
            Self::diffusers("vae", "flux/vae", vae(variant)),
        ]
    }

    fn sd35(transformer: &Value) -> Vec<Self> {
        let transformer =
            asked(transformer, |config, w| Sd35Transformer::load(&Sd35Config::read(config)?, w).map(drop));
        vec![
            Self::diffusers("transformer", "sd35", transformer),
            Self::transformers("text_encoder", "sd35/clip_l", projected_clip(&configs::clip_l())),
            Self::transformers("text_encoder_2", "sd35/clip_g", projected_clip(&configs::clip_g())),
            Self::transformers("text_encoder_3", "sd35/t5", t5(&configs::sd35_t5())),
            Self::diffusers("vae", "sd35/vae", vae(Variant::Sd35)),
        ]
    }

    fn auraflow(transformer: &Value) -> Vec<Self> {
        let transformer =
            asked(transformer, |config, w| AuraTransformer::load(&AuraConfig::read(config)?, w).map(drop));
        vec![
            Self::diffusers("transformer", "auraflow", transformer),
            Self::transformers("text_encoder", "auraflow/umt5", t5(&configs::umt5())),
            Self::diffusers("vae", "auraflow/vae", vae(Variant::AuraFlow)),
        ]
    }

    fn f_lite(transformer: &Value) -> Vec<Self> {
        let transformer =
            asked(transformer, |config, w| FLiteTransformer::load(&FLiteConfig::read(config)?, w).map(drop));
        vec![
            Self::diffusers("dit_model", "fl.dit", transformer).filled_by(recorded),
            Self::transformers("text_encoder", "fl.t5", t5(&configs::f_lite_t5())).filled_by(recorded),
            Self::diffusers("vae", "fl.vae", vae(Variant::FLite)).filled_by(recorded),
        ]
    }

    pub(super) fn diffusers(folder: &'static str, tag: &'static str, shapes: Shapes) -> Self {
        Self { folder, base: "diffusion_pytorch_model", tag, prefix: "", shapes, fill }
    }

    pub(super) fn transformers(folder: &'static str, tag: &'static str, shapes: Shapes) -> Self {
        Self { folder, base: "model", tag, prefix: "", shapes, fill }
    }

    /// The same with other numbers.
    pub(super) fn filled_by(self, fill: fn(&str, &str, &[usize]) -> Vec<f32>) -> Self {
        Self { fill, ..self }
    }

    /// Its tensors, float32.
    pub(super) fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.shapes.iter().map(|(name, shape)| (name.clone(), self.fill(name, shape, DType::F32))).collect()
    }

    /// Writes one file, or several and their index.
    pub(super) fn write(&self, folder: &Path, dtype: DType, shards: usize) {
        let folder = folder.join(self.folder);
        let tensors: Vec<(&str, Tensor)> = self.shapes.iter().map(|(n, s)| (&**n, self.fill(n, s, dtype))).collect();
        if shards <= 1 {
            return save(&folder.join(format!("{}.safetensors", self.base)), &tensors);
        }
        let mut weight_map = BTreeMap::new();
        for (number, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
            let file = format!("{}-{:05}-of-{shards:05}.safetensors", self.base, number + 1);
            save(&folder.join(&file), part);
            weight_map.extend(part.iter().map(|(name, _)| (*name, file.clone())));
        }
        let bytes: usize = tensors.iter().map(|(_, t)| t.elem_count() * dtype.size_in_bytes()).sum();
        let index = json!({ "metadata": { "total_size": bytes }, "weight_map": weight_map });
        write(&folder.join(format!("{}.safetensors.index.json", self.base)), configs::pretty(&index).as_bytes());
    }

    fn fill(&self, name: &str, shape: &[usize], dtype: DType) -> Tensor {
        let parameter = name.strip_prefix(self.prefix).unwrap_or(name);
        let values = match self.tag {
            // no parameter in Python: it is computed when the model is made
            "sd35" if name == "pos_embed.pos_embed" => waves(shape[1].isqrt(), SD35_BASE, shape[2]),
            tag => (self.fill)(&format!("{tag}/{parameter}"), parameter, shape),
        };
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).and_then(|t| t.to_dtype(dtype));
        tensor.expect("as many values as the shape says")
    }
}

/// What a name seeds.
pub(super) fn crc(name: &str) -> u64 {
    let mut crc = flate2::Crc::new();
    crc.update(name.as_bytes());
    crc.sum().into()
}

/// Matrices and kernels normal with variance 1 / inputs, gains about 1, biases small, tables 0.3.
pub(super) fn fill(seed: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let table = name.contains("embedding") || name.contains("shared");
    let inputs: usize = shape[1..].iter().product();
    let scale: Box<dyn Fn(f32) -> f32> = match (leaf, shape.len()) {
        ("weight", 1) => Box::new(|x| 1.0 + 0.1 * x),
        ("weight", _) if !table => Box::new(move |x| x / (inputs as f64).sqrt() as f32),
        ("bias", _) => Box::new(|x| 0.05 * x),
        _ => Box::new(|x| 0.3 * x),
    };
    fill_with(seed, shape, &scale)
}

fn fill_with(seed: &str, shape: &[usize], scale: &dyn Fn(f32) -> f32) -> Vec<f32> {
    let values = Generator::new(crc(seed)).randn(shape.iter().product());
    values.into_iter().map(scale).collect()
}

/// The same by another rule, that of the tensors recorded later: tables are normal, gains and biases vary more.
pub(super) fn recorded(seed: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let inputs = shape.iter().skip(1).product::<usize>().max(1);
    let scale: Box<dyn Fn(f32) -> f32> = if has(&["embed_tokens", "shared.", "token_embedding", "register_tokens"]) {
        Box::new(|x| x)
    } else if has(&["position_embedding", "relative_attention_bias", "image_index"]) {
        Box::new(|x| 0.5 * x)
    } else if name.ends_with(".bias") {
        Box::new(|x| 0.1 * x)
    } else if name.ends_with("lambda_param") {
        Box::new(|x| 0.5 + 0.2 * x)
    } else if shape.len() == 1 {
        Box::new(|x| 1.0 + 0.2 * x)
    } else {
        Box::new(move |x| x / (inputs as f64).sqrt() as f32)
    };
    fill_with(seed, shape, &scale)
}

/// Sines and cosines of the column, then of the row, of every place of a square; `base` is the side of the pictures in
/// whose measure places are counted.
fn waves(side: usize, base: usize, width: usize) -> Vec<f32> {
    let quarter = width / 4;
    let place = |i: usize| f64::from(i as f32 / (side as f32 / base as f32));
    let wave = |at: f64, f: fn(f64) -> f64| {
        (0..quarter).map(move |i| f(at * (1.0 / 10000f64.powf(i as f64 / quarter as f64))) as f32)
    };
    let of = |at: f64| wave(at, f64::sin).chain(wave(at, f64::cos));
    (0..side * side).flat_map(|i| of(place(i % side)).chain(of(place(i / side)))).collect()
}

fn clip(value: &Value) -> Shapes {
    asked(value, |config, w| ClipText::load(&ClipConfig::read(config)?, w).map(drop))
}

pub(super) fn projected_clip(value: &Value) -> Shapes {
    asked(value, |config, w| ClipText::load_projected(&ClipConfig::read(config)?, w).map(drop))
}

pub(super) fn t5(value: &Value) -> Shapes {
    asked(value, |config, w| T5Encoder::load(&T5Config::read(config)?, w).map(drop))
}

fn vae(variant: Variant) -> Shapes {
    vae_of(&configs::vae(variant))
}

pub(super) fn vae_of(value: &Value) -> Shapes {
    asked(value, |config, w| Vae::load(&VaeConfig::read(config)?, w).map(drop))
}

/// What a loader asks for.
pub(super) fn asked(value: &Value, load: impl FnOnce(&Config, &Weights) -> scumble_engine::Result<()>) -> Shapes {
    asked_with(|w| load(&config(value), w))
}

/// The same for a loader that takes sizes.
pub(super) fn asked_with(load: impl FnOnce(&Weights) -> scumble_engine::Result<()>) -> Shapes {
    let recorder = Weights::recorder();
    load(&recorder).expect("the tiny configurations are sound");
    recorder.asked()
}

fn config(value: &Value) -> Config {
    Config::parse(PathBuf::from("tiny"), value.to_string().as_bytes()).expect("it is a JSON object")
}

pub(super) fn save(path: &Path, tensors: &[(&str, Tensor)]) {
    save_with(path, tensors, HashMap::from([("format".to_owned(), "pt".to_owned())]));
}

pub(super) fn save_with(path: &Path, tensors: &[(&str, Tensor)], metadata: HashMap<String, String>) {
    let bytes = safetensors::serialize(tensors.iter().map(|(n, t)| (n, t)), Some(metadata));
    write(path, &bytes.expect("tensors of a plain type can be stored"));
}
