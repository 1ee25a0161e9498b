//! Weights that depend only on a tag, a name and a shape.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use scumble_engine::checkpoint::{Config, Weights};
use scumble_engine::encoders::{ClipConfig, ClipText, T5Config, T5Encoder};
use scumble_engine::models::flux::{FluxConfig, FluxTransformer};
use scumble_engine::rng::Generator;
use scumble_engine::vae::{Halves, Vae, VaeConfig};
use scumble_engine::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::{Variant, configs, write};

/// The weights of one folder of a pipeline.
pub(super) struct Component {
    folder: &'static str,
    /// Base name of its files.
    base: &'static str,
    /// Put in front of each parameter's name to seed it.
    tag: &'static str,
    /// What files put in front of the names that the parameters have in Python.
    prefix: &'static str,
    /// Names in files and shapes: whatever the engine asks for.
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Component {
    /// The four components of a FLUX pipeline, by asking the engine's own loaders.
    pub(super) fn flux(variant: Variant) -> [Self; 4] {
        [
            Self {
                folder: "transformer",
                base: "diffusion_pytorch_model",
                tag: variant.name(),
                prefix: "",
                shapes: asked(|w| {
                    let config = FluxConfig::read(&config(&configs::transformer(variant)))?;
                    FluxTransformer::load(&config, w).map(drop)
                }),
            },
            Self {
                folder: "text_encoder",
                base: "model",
                tag: "flux/clip",
                prefix: "text_model.",
                shapes: asked(|w| ClipText::load(&ClipConfig::read(&config(&configs::clip()))?, w).map(drop)),
            },
            Self {
                folder: "text_encoder_2",
                base: "model",
                tag: "flux/t5",
                prefix: "",
                shapes: asked(|w| T5Encoder::load(&T5Config::read(&config(&configs::t5()))?, w).map(drop)),
            },
            Self {
                folder: "vae",
                base: "diffusion_pytorch_model",
                tag: "flux/vae",
                prefix: "",
                shapes: asked(|w| Vae::load(&VaeConfig::read(&config(&configs::vae()))?, w, Halves::Both).map(drop)),
            },
        ]
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
        let values = fill(&format!("{}/{parameter}", self.tag), parameter, shape);
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).and_then(|t| t.to_dtype(dtype));
        tensor.expect("as many values as the shape says")
    }
}

/// Matrices and kernels normal with variance 1 / inputs, gains about 1, biases small, tables 0.3.
fn fill(seed: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let mut crc = flate2::Crc::new();
    crc.update(seed.as_bytes());
    let mut values = Generator::new(crc.sum().into()).randn(shape.iter().product());
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let table = name.contains("embedding") || name.contains("shared");
    let inputs: usize = shape[1..].iter().product();
    let scale: Box<dyn Fn(f32) -> f32> = match (leaf, shape.len()) {
        ("weight", 1) => Box::new(|x| 1.0 + 0.1 * x),
        ("weight", _) if !table => Box::new(move |x| x / (inputs as f64).sqrt() as f32),
        ("bias", _) => Box::new(|x| 0.05 * x),
        _ => Box::new(|x| 0.3 * x),
    };
    values.iter_mut().for_each(|x| *x = scale(*x));
    values
}

/// What a loader asks for.
fn asked(load: impl FnOnce(&Weights) -> scumble_engine::Result<()>) -> BTreeMap<String, Vec<usize>> {
    let recorder = Weights::recorder();
    load(&recorder).expect("the tiny configurations are sound");
    recorder.asked()
}

fn config(value: &Value) -> Config {
    Config::parse(PathBuf::from("tiny"), value.to_string().as_bytes()).expect("it is a JSON object")
}

fn save(path: &Path, tensors: &[(&str, Tensor)]) {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(tensors.iter().map(|(n, t)| (n, t)), Some(metadata));
    write(path, &bytes.expect("tensors of a plain type can be stored"));
}
