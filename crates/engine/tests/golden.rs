//! Every stage of the FLUX pipelines against what diffusers computed from the same checkpoints.
//!
//! `golden/<variant>` holds what diffusers 0.42 recorded (torch 2.15, float32, CPU): `reference.json` says how it was
//! called, `reference.safetensors` has the tensors. The checkpoints are rebuilt bit for bit by
//! `scumble_testkit::tiny`. Every tensor of the file is compared, or listed as not computed here.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use scumble_engine::checkpoint::{Precision, Source};
use scumble_engine::pipelines::{self, Context};
use scumble_engine::{DType, Device, Tensor, Trace, Unobserved};
use scumble_testkit::tiny::{self, Variant};

/// What the engine has no use for: an early CLIP layer, masks that the pipeline ignores, the picture before rounding.
const NOT_COMPUTED: [&str; 4] = [
    "image.float_nhwc",
    "prompt.text_encoder.penultimate",
    "prompt.tokenizer.attention_mask",
    "prompt.tokenizer_2.attention_mask",
];

/// Largest difference allowed, as a share of the largest magnitude of a tensor.
///
/// Seen with AVX-512: 3e-7 for CLIP's pooled state, 9e-7 for T5's, at most 2.1e-6 after a block, 1.9e-6 for the
/// transformer, 5e-7 for latents, 1.3e-6 for decoded pictures; one byte of 36,864 differs by one level.
const TOLERANCE: f64 = 1e-5;

#[test]
fn schnell_agrees_with_diffusers_at_every_stage() {
    check(Variant::Schnell);
}

#[test]
fn dev_agrees_with_diffusers_at_every_stage() {
    check(Variant::Dev);
}

fn check(variant: Variant) {
    let (golden, computed) = (golden(variant), traced(variant));
    let mut wrong = Vec::new();
    for (name, expected) in &golden {
        match (NOT_COMPUTED.contains(&name.as_str()), computed.get(name)) {
            (true, None) => {}
            (true, Some(_)) => wrong.push(format!("{name} is computed after all")),
            (false, None) => wrong.push(format!("{name} is missing")),
            (false, Some(got)) => wrong.extend(difference(name, expected, got)),
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", variant.name(), wrong.join("\n"));
    assert!(golden.len() > 30, "the golden file is whole");
}

fn golden(variant: Variant) -> BTreeMap<String, Tensor> {
    let file = ["tests", "golden", variant.name(), "reference.safetensors"].iter().collect::<PathBuf>();
    let tensors: HashMap<String, Tensor> = candle_core::safetensors::load(file, &Device::Cpu).expect("the golden file");
    tensors.into_iter().collect()
}

fn traced(variant: Variant) -> BTreeMap<String, Tensor> {
    let folder = tiny::flux(variant).tempdir();
    let precision = Precision { device: Device::Cpu, dtype: Some(DType::F32) };
    let pipeline = pipelines::open(Source::Folder(folder.path().into()), &precision).expect("the tiny checkpoint");
    let trace = Trace::with_blocks();
    let context = Context { observer: &Unobserved, trace: Some(&trace) };
    pipeline.generate(&variant.params(), &context).expect("a picture");
    trace.into_tensors()
}

/// What is wrong with a tensor, if anything.
fn difference(name: &str, expected: &Tensor, got: &Tensor) -> Option<String> {
    if (expected.dims(), expected.dtype()) != (got.dims(), got.dtype()) {
        return Some(format!("{name}: {got:?}, diffusers has {expected:?}"));
    }
    let (expected, got) = (numbers(expected), numbers(got));
    let worst = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let limit = match name {
        _ if name.ends_with("input_ids") => 0.0,
        "noise.first_draw" | "schedule.sigmas" | "schedule.timesteps" => 0.0,
        "image.uint8_nhwc" => 1.0,
        _ => TOLERANCE * expected.iter().fold(0.0, |largest, v| v.abs().max(largest)),
    };
    (worst > limit || got.iter().any(|v| v.is_nan())).then(|| format!("{name}: off by {worst:e}, allowed {limit:e}"))
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).and_then(|x| x.flatten_all()?.to_vec1()).expect("numbers")
}
