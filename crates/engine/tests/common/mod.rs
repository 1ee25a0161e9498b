//! What tests of pipelines share.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test needs all of it")]

pub(crate) mod compare;

use std::collections::HashMap;
use std::path::Path;

use scumble_engine::families::{self, Context, Pipeline};
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{Call, DType, Device, Pixels, Result, Tensor, Unobserved};
use scumble_testkit::tiny::{self, Variant};

/// A tiny checkpoint in float32.
pub(crate) fn open(variant: Variant) -> Box<dyn Pipeline> {
    let folder = tiny::of(variant).tempdir();
    open_in(folder.path(), Some(DType::F32)).unwrap()
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
