//! What tests of pipelines share.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test needs all of it")]

pub(crate) mod compare;
pub(crate) mod place;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use scumble_engine::adapters::Lora;
use scumble_engine::families::names::Names;
use scumble_engine::families::{self, Context, Pipeline, auraflow, flux, sd35};
use scumble_engine::rng::Generator;
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{Call, DType, Device, Observer, Pixels, Result, Tensor, Unobserved};
use scumble_testkit::tiny::loras::LoraFile;
use scumble_testkit::tiny::{self, Variant};

/// A tiny checkpoint in float32.
pub(crate) fn open(variant: Variant) -> Opened {
    let folder = tiny::of(variant).tempdir();
    Opened { pipeline: open_in(folder.path(), Some(DType::F32)).unwrap(), _folder: folder }
}

/// A pipeline, and the folder that it may look into again.
pub(crate) struct Opened {
    pipeline: Box<dyn Pipeline>,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for Opened {
    type Target = dyn Pipeline;

    fn deref(&self) -> &Self::Target {
        &*self.pipeline
    }
}

pub(crate) fn open_in(folder: &Path, dtype: Option<DType>) -> Result<Box<dyn Pipeline>> {
    families::open(Source::Folder(folder.into()), &Precision { device: Device::Cpu, dtype })
}

pub(crate) fn draw(pipeline: &dyn Pipeline, call: &Call) -> Vec<Pixels> {
    pipeline.generate(call, &Context { observer: &Unobserved, trace: None }).unwrap()
}

/// In levels, over all bytes.
pub(crate) fn largest_difference(a: &Pixels, b: &Pixels) -> u8 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    a.rgb.iter().zip(&b.rgb).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// In levels, over all bytes.
pub(crate) fn mean_difference(a: &Pixels, b: &Pixels) -> f64 {
    let total: u64 = a.rgb.iter().zip(&b.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    total as f64 / a.rgb.len() as f64
}

/// Changes the tensors of a file.
pub(crate) fn edit(file: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let mut tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, file).unwrap();
}

/// Sets an entry of a JSON file.
pub(crate) fn set(folder: &Path, file: &str, key: &str, value: &str) {
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap();
    config[key] = serde_json::from_str(value).unwrap();
    std::fs::write(folder.join(file), config.to_string()).unwrap();
}

/// The first picture of a call, or why there is none.
pub(crate) fn drawn(pipeline: &dyn Pipeline, call: &Call, observer: &dyn Observer) -> Result<Pixels> {
    Ok(pipeline.generate(call, &Context { observer, trace: None })?.remove(0))
}

/// The call of a variant with LoRAs, in two steps.
pub(crate) fn with_loras(variant: Variant, loras: Vec<Lora>) -> Call {
    Call { loras, steps: 2, ..variant.call() }
}

/// A LoRA file of these tensors.
pub(crate) fn lora_file(tensors: &[(&str, &Tensor)]) -> LoraFile {
    LoraFile::of(tensors.iter().map(|(name, tensor)| ((*name).to_owned(), (*tensor).clone())).collect())
}

/// The names that a family's publisher gives its transformer, where they are not diffusers'.
pub(crate) fn published(variant: Variant) -> Option<&'static Names> {
    match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill => Some(&flux::NAMES),
        Variant::Sd35 => Some(&sd35::NAMES),
        Variant::AuraFlow => Some(&auraflow::NAMES),
        _ => None,
    }
}

/// Weights, their base, components from elsewhere.
pub(crate) fn source_of(weights: &Path, base: Option<&Path>, components: &[(&str, PathBuf)]) -> Source {
    let components: BTreeMap<String, PathBuf> =
        components.iter().map(|(name, path)| ((*name).to_owned(), path.clone())).collect();
    Source::of(weights.to_owned(), base.map(Path::to_owned), components)
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(source, target).unwrap();
        }
    }
}

/// Small random numbers.
pub(crate) fn noise(generator: &mut Generator, shape: &[usize]) -> Tensor {
    (generator.noise(shape).unwrap() * 0.2).unwrap()
}

/// Writes down what a run remarks.
#[derive(Default)]
pub(crate) struct Remarks(Mutex<Vec<String>>);

impl Remarks {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Remarks {
    fn remark(&self, sentence: &str) {
        self.0.lock().unwrap().push(sentence.to_owned());
    }
}
