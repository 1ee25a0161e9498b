//! Safety checkers: every number before the decision against diffusers and transformers, and what files may be like.
//!
//! `golden/checkers` is made by `clients/parity/safety.py`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use scumble_engine::checkers::{Checker, CheckerKind};
use scumble_engine::families::Context;
use scumble_engine::{Control, DType, Device, Error, Observer, Pixels, Reading, Tensor, Trace, Unobserved};
use scumble_testkit::tiny::adapters::Tensors;
use scumble_testkit::tiny::checkers;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Largest difference allowed, as a share of the largest magnitude of a tensor.
///
/// Seen: nothing for pixels and scores, 1.2e-6 for states, embeddings, cosines and probabilities, 7.9e-6 for logits, which are
/// small here.
const TOLERANCE: f64 = 3e-5;

fn written(kind: CheckerKind) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    checkers::write(kind, folder.path());
    folder
}

fn open(kind: CheckerKind, folder: &Path) -> scumble_engine::Result<Checker> {
    Checker::open(kind, folder, &Device::Cpu, None)
}

fn flags(checker: &Checker, picture: &Pixels) -> bool {
    checker.flags(picture, &Context { observer: &Unobserved, trace: None }).unwrap()
}

/// Every number on the way, and the decision.
fn traced(checker: &Checker, picture: &Pixels) -> (BTreeMap<String, Tensor>, bool) {
    let trace = Trace::new();
    let flagged = checker.flags(picture, &Context { observer: &Unobserved, trace: Some(&trace) }).unwrap();
    (trace.into_tensors(), flagged)
}

/// Another name for each tensor.
type Renaming = fn(&str) -> String;

#[test]
fn every_number_before_the_decision_is_the_references() {
    for kind in CheckerKind::ALL {
        let checker = open(kind, written(kind).path()).unwrap();
        let file = format!("tests/golden/checkers/{}.safetensors", kind.name());
        let golden: HashMap<String, Tensor> = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let mut computed = HashMap::new();
        let mut compared = 0;
        for (name, expected) in &golden {
            let (size, what) = name.split_once('.').unwrap();
            let (width, height) = size.split_once('x').unwrap();
            let (tensors, flagged) = computed.entry(size.to_owned()).or_insert_with(|| {
                traced(&checker, &checkers::picture(width.parse().unwrap(), height.parse().unwrap()))
            });
            if what == "flagged" {
                assert_eq!(numbers(expected), [f64::from(u8::from(*flagged))], "{name}");
                continue;
            }
            let got = &tensors[what];
            assert_eq!(expected.dims(), got.dims(), "{name}");
            let (expected, got) = (numbers(expected), numbers(got));
            let worst = expected.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
            // what is rounded to thousandths may fall to the other side
            let allowed = if what.ends_with("scores") { 0.001_001 } else { TOLERANCE * largest };
            assert!(worst <= allowed, "{} {name}: off by {worst:e}, allowed {allowed:e}", kind.name());
            compared += 1;
        }
        assert!(compared >= 24 && computed.len() == 6, "the golden file is whole");
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Pictures of any shape are looked at, and long ones take no more memory than their middle.
#[test]
fn pictures_may_have_any_sides() {
    for kind in CheckerKind::ALL {
        let checker = open(kind, written(kind).path()).unwrap();
        for (width, height) in [(1, 1), (1, 4000), (4000, 1), (2, 3), (1025, 767)] {
            let (tensors, _) = traced(&checker, &checkers::picture(width, height));
            let dims = tensors["pixels"].dims().to_vec();
            assert!(dims == [1, 3, 28, 28] || dims == [1, 3, 32, 32], "{dims:?}");
        }
    }
}

#[test]
fn thresholds_decide() {
    let folder = tempfile::tempdir().unwrap();
    let with = |threshold: f32| {
        let tensors = checkers::with_threshold(threshold);
        checkers::write_with(CheckerKind::CompVis, folder.path(), "model.safetensors", &tensors);
        open(CheckerKind::CompVis, folder.path()).unwrap()
    };
    let picture = checkers::picture(40, 24);
    assert!(!flags(&with(2.0), &picture) && flags(&with(-2.0), &picture));
    // just beyond the nearest concept, which what needs special care brings nearer by a hundredth
    let (tensors, _) = traced(&with(2.0), &picture);
    let nearest = numbers(&tensors["concept_cosines"]).into_iter().fold(f64::MIN, f64::max) as f32;
    assert!(numbers(&tensors["special_scores"]).iter().any(|score| *score > 0.0), "the tiny one needs special care");
    assert!(flags(&with(nearest + 0.008), &picture) && !flags(&with(nearest + 0.012), &picture));
    // Falconsai's: a bias moves the probability across 0.85, and not across a half
    let biased = |bias: [f32; 2]| {
        let mut tensors = checkers::tensors(CheckerKind::Falconsai);
        tensors.insert("classifier.weight".into(), Tensor::zeros((2, 32), DType::F32, &Device::Cpu).unwrap());
        tensors.insert("classifier.bias".into(), Tensor::new(&bias, &Device::Cpu).unwrap());
        checkers::write_with(CheckerKind::Falconsai, folder.path(), "model.safetensors", &tensors);
        flags(&open(CheckerKind::Falconsai, folder.path()).unwrap(), &picture)
    };
    assert!(biased([0.0, 1.8]) && !biased([0.0, 1.7]) && !biased([1.8, 0.0]));
}

/// As torch writes it, and with the names and entries that some versions add.
#[test]
fn other_files_of_the_same_network_give_the_same() {
    let picture = checkers::picture(50, 41);
    for kind in CheckerKind::ALL {
        let expected = traced(&open(kind, written(kind).path()).unwrap(), &picture).0;
        let variants: [(&str, Renaming); 2] = [
            ("pytorch_model.bin", str::to_owned),
            ("model.safetensors", |name| name.replace("vision_model.vision_model.", "vision_model.")),
        ];
        for (file, rename) in variants {
            let folder = tempfile::tempdir().unwrap();
            let mut tensors: Tensors = checkers::tensors(kind).into_iter().map(|(n, t)| (rename(&n), t)).collect();
            if kind == CheckerKind::CompVis {
                let ids = Tensor::zeros((1, 5), DType::F32, &Device::Cpu).unwrap();
                tensors.insert("vision_model.vision_model.embeddings.position_ids".into(), ids);
            }
            checkers::write_with(kind, folder.path(), file, &tensors);
            std::fs::remove_file(folder.path().join("preprocessor_config.json")).unwrap();
            let got = traced(&open(kind, folder.path()).unwrap(), &picture).0;
            assert_eq!(numbers(&got["pooled"]), numbers(&expected["pooled"]), "{file}");
        }
    }
}

#[test]
fn what_cannot_be_used_says_why_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let said = |kind: CheckerKind| {
        let said = Checker::examine(kind, path).unwrap_err();
        assert!(said.is_checkpoint(), "{said}");
        assert_eq!(open(kind, path).err().unwrap().to_string(), said.to_string());
        said.to_string()
    };
    let (compvis, falconsai) = (CheckerKind::CompVis, CheckerKind::Falconsai);
    assert!(said(compvis).contains("config.json"));
    checkers::write(falconsai, path);
    Checker::examine(falconsai, path).unwrap();
    assert!(said(compvis).contains("concept_embeds") || said(compvis).contains("special_care_embeds"));
    let put = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut value =
            if name == "config.json" { checkers::config(falconsai) } else { checkers::preprocessor(falconsai) };
        change(&mut value);
        std::fs::write(path.join(name), value.to_string()).unwrap();
        let said = said(falconsai);
        checkers::write(falconsai, path);
        said
    };
    for (key, value, words) in [
        ("id2label", json!({ "0": "cat", "1": "dog" }), "nsfw"),
        ("id2label", Value::Null, "nsfw"),
        ("id2label", json!({ "0": "a", "7": "nsfw" }), "nsfw"),
        ("hidden_act", json!("swish"), "hidden_act"),
        ("num_attention_heads", json!(5), "num_attention_heads"),
        ("num_attention_heads", json!(0), "num_attention_heads"),
        ("patch_size", json!(0), "patch_size"),
        ("patch_size", json!(33), "patch_size"),
        ("image_size", json!(64), "position_embedding"),
        ("num_hidden_layers", json!(2), "encoder.layers.2"),
        ("num_hidden_layers", json!(4), "encoder.layers.3"),
        ("num_hidden_layers", json!(100_000), "at most"),
        ("num_channels", json!(4), "num_channels"),
        ("qkv_bias", json!(false), "qkv_bias"),
    ] {
        let said = put("config.json", &|config| config[key] = value.clone());
        assert!(said.contains(words), "{key} = {value}: {said}");
    }
    for (key, value) in [
        ("size", json!({ "height": 16, "width": 32 })),
        ("size", json!({ "shortest_edge": 32 })),
        ("do_center_crop", json!(true)),
        ("do_resize", json!(false)),
        ("resample", json!(0)),
        ("image_std", json!([0, 0, 0])),
    ] {
        let said = put("preprocessor_config.json", &|config| config[key] = value.clone());
        assert!(said.contains(key), "{key} = {value}: {said}");
    }
    std::fs::write(path.join("config.json"), vec![b' '; 2 << 20]).unwrap();
    assert!(said(falconsai).contains("bytes"));
    checkers::write(falconsai, path);
    let whole = std::fs::read(path.join("model.safetensors")).unwrap();
    std::fs::write(path.join("model.safetensors"), &whole[..whole.len() / 2]).unwrap();
    said(falconsai);
    std::fs::remove_file(path.join("model.safetensors")).unwrap();
    assert!(said(falconsai).contains("pytorch_model.bin"));
}

/// Numbers that are none say nothing of a picture, least of all that it is harmless.
#[test]
fn a_network_that_computes_no_numbers_is_an_error() {
    for (kind, name) in
        [(CheckerKind::CompVis, "visual_projection.weight"), (CheckerKind::Falconsai, "classifier.weight")]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = checkers::tensors(kind);
        let broken = tensors[name].affine(0.0, f64::NAN).unwrap();
        tensors.insert(name.to_owned(), broken);
        checkers::write_with(kind, folder.path(), "model.safetensors", &tensors);
        let checker = open(kind, folder.path()).unwrap();
        let said = checker.flags(&checkers::picture(8, 8), &Context { observer: &Unobserved, trace: None });
        assert!(matches!(said, Err(Error::NotFinite { .. })), "{said:?}");
    }
}

struct Stops;

impl Observer for Stops {
    fn ask(&self) -> Control {
        Control::Cancel
    }
}

#[derive(Default)]
struct Heard {
    bytes: AtomicU64,
    stops: bool,
}

impl Reading for Heard {
    fn read(&self, bytes: u64) -> Control {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.stops { Control::Cancel } else { Control::Continue }
    }
}

#[test]
fn loading_and_looking_can_be_stopped_and_what_it_takes_is_known() {
    for kind in CheckerKind::ALL {
        let folder = written(kind);
        let heard = Arc::new(Heard::default());
        let checker = Checker::open(kind, folder.path(), &Device::Cpu, Some(heard.clone())).unwrap();
        assert_eq!(heard.bytes.load(Ordering::Relaxed), Checker::takes(folder.path()).unwrap());
        let said = checker.flags(&checkers::picture(8, 8), &Context { observer: &Stops, trace: None });
        assert!(matches!(said, Err(Error::Cancelled)), "{said:?}");
        let stops = Arc::new(Heard { stops: true, ..Heard::default() });
        let said = Checker::open(kind, folder.path(), &Device::Cpu, Some(stops)).err();
        assert!(matches!(said, Some(Error::Cancelled)), "{said:?}");
    }
}
