//! Tensors against those that diffusers recorded.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use scumble_engine::{DType, Device, Tensor};

/// What diffusers recorded.
pub(crate) fn golden(name: &str) -> BTreeMap<String, Tensor> {
    let file = ["tests", "golden", name, "reference.safetensors"].iter().collect::<PathBuf>();
    let tensors: HashMap<String, Tensor> = candle_core::safetensors::load(file, &Device::Cpu).expect("the golden file");
    tensors.into_iter().collect()
}

/// How far each tensor is away, as a share of its largest magnitude; shown with `--nocapture`.
pub(crate) fn distances(golden: &BTreeMap<String, Tensor>, computed: &BTreeMap<String, Tensor>) -> String {
    let line = |(name, expected): (&String, &Tensor)| {
        let (expected, got) = (numbers(expected), numbers(computed.get(name)?));
        let worst = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, v| v.abs().max(largest));
        Some(format!("{name}: {:.1e}\n", worst / largest))
    };
    golden.iter().filter_map(line).collect()
}

/// What is wrong with a tensor, if anything.
pub(crate) fn difference(name: &str, expected: &Tensor, got: &Tensor, tolerance: f64) -> Option<String> {
    if (expected.dims(), expected.dtype()) != (got.dims(), got.dtype()) {
        return Some(format!("{name}: {got:?}, diffusers has {expected:?}"));
    }
    let (expected, got) = (numbers(expected), numbers(got));
    let worst = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let limit = match name {
        _ if name.ends_with("input_ids") || name.ends_with("attention_mask") => 0.0,
        "noise.first_draw" | "schedule.sigmas" | "schedule.timesteps" => 0.0,
        "image.uint8_nhwc" => 1.0,
        _ => tolerance * expected.iter().fold(0.0, |largest, v| v.abs().max(largest)),
    };
    (worst > limit || got.iter().any(|v| v.is_nan())).then(|| format!("{name}: off by {worst:e}, allowed {limit:e}"))
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).and_then(|x| x.flatten_all()?.to_vec1()).expect("numbers")
}
