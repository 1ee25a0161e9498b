//! Every dialect of LoRAs on every format of weights: what is drawn is what a folder draws that holds the decoded numbers with
//! the change merged into them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops and shows where")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{
    Remarks, copy, draw, drawn, largest_difference, mean_difference, open_in, published, source_of, with_loras,
};
use scumble_engine::families;
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{Call, DType, Device, Pipeline};
use scumble_testkit::tiny::files::{Component, Format, Scales, Tensors, load, replace, write_file};
use scumble_testkit::tiny::loras::{self, Set};
use scumble_testkit::tiny::{self, Variant};
use tempfile::TempDir;

const FORMATS: [Format; 10] = [
    Format::Plain(DType::F32),
    Format::Plain(DType::BF16),
    Format::Plain(DType::F16),
    Format::Gguf,
    Format::Fp8(None),
    Format::Fp8(Some(Scales::Marked)),
    Format::Fp8(Some(Scales::Bare)),
    Format::Fp8(Some(Scales::Rows)),
    Format::Fp8(Some(Scales::Layers)),
    Format::Fp8(Some(Scales::Header)),
];

/// All of them; of a build that is not optimised, whose files take long to make, one of each kind.
fn formats() -> &'static [Format] {
    const SOME: [Format; 3] = [Format::Gguf, Format::Fp8(None), Format::Fp8(Some(Scales::Rows))];
    if cfg!(debug_assertions) { &SOME } else { &FORMATS }
}

#[test]
fn flux() {
    crosses(Variant::Dev, &["text_encoder"], "text_encoder_2");
}

#[test]
fn stable_diffusion() {
    crosses(Variant::Sd35, &["text_encoder", "text_encoder_2"], "text_encoder_3");
}

#[test]
fn aura_flow() {
    crosses(Variant::AuraFlow, &[], "text_encoder");
}

/// Nobody trains its encoders.
#[test]
fn hidream() {
    crosses(Variant::HiDreamFull, &[], "text_encoder_3");
}

/// Every dialect over every format, and how many that were.
fn crosses(variant: Variant, clips: &[&str], t5: &str) {
    let tiny = tiny::of(variant).tempdir();
    let mut crossed = 0;
    for format in formats() {
        let base = Base::new(tiny.path(), variant, *format, clips, t5);
        let plain = draw(&*base.pipeline, &call(variant, Vec::new())).remove(0);
        for set in loras::sets_over(variant, &base.decoded) {
            let label = format!("{variant:?} as {format:?}, {}", set.name);
            let merged = draw(&*base.merged(&set), &call(variant, Vec::new())).remove(0);
            assert!(mean_difference(&plain, &merged) > 0.2, "{label}: it shows");
            for (dialect, file) in &set.files {
                let lora = file.write(&base.files.path().join("lora.safetensors"), 1.0);
                let remarks = Remarks::default();
                let picture = drawn(&*base.pipeline, &call(variant, vec![lora]), &remarks).unwrap();
                let difference = largest_difference(&merged, &picture);
                assert!(difference <= 1, "{label} in {dialect}: {difference} levels");
                assert_eq!(remarks.all(), Vec::<String>::new(), "{label} in {dialect}");
                crossed += 1;
            }
        }
    }
    assert!(crossed >= 27 * formats().len(), "{crossed}");
}

fn call(variant: Variant, loras: Vec<scumble_engine::adapters::Lora>) -> Call {
    let side = if variant == Variant::HiDreamFull { 64 } else { 32 };
    Call { steps: 1, width: side, height: side, ..with_loras(variant, loras) }
}

/// A model whose transformer and text encoders are files of one format, and what their numbers are.
struct Base {
    pipeline: Box<dyn Pipeline>,
    /// By component.
    decoded: BTreeMap<String, Tensors>,
    /// A folder with the decoded numbers.
    folder: TempDir,
    files: TempDir,
}

impl Base {
    fn new(tiny: &Path, variant: Variant, format: Format, clips: &[&str], t5: &str) -> Self {
        let (files, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        copy(tiny, folder.path());
        let (mut decoded, mut paths) = (BTreeMap::new(), Vec::new());
        // llama.cpp has no CLIP
        let clips = if format == Format::Gguf { &[][..] } else { clips };
        for name in ["transformer", t5].iter().chain(clips) {
            let (tensors, path) = (load(tiny, name), files.path().join(name));
            let component = match published(variant).filter(|_| *name == "transformer") {
                Some(names) => Component::published(&tensors, names),
                None if *name == t5 && format == Format::Gguf => Component::t5_cpp(&tensors),
                None => Component::same(&tensors),
            };
            let mut numbers = write_file(&path, format, &[component]).remove(0);
            // a second name of the same tensor, which llama.cpp leaves out
            numbers.extend(tensors.into_iter().filter(|(name, _)| name == "encoder.embed_tokens.weight"));
            replace(folder.path(), name, &numbers);
            decoded.insert((*name).to_owned(), numbers);
            paths.push((*name, path));
        }
        let transformer = paths.remove(0).1;
        let pipeline = open(source_of(&transformer, Some(tiny), &paths));
        Self { pipeline, decoded, folder, files }
    }

    /// The model with a change merged into its numbers.
    fn merged(&self, set: &Set) -> Box<dyn Pipeline> {
        let changed = tempfile::tempdir().unwrap();
        copy(self.folder.path(), changed.path());
        let component = set.changes.split('/').next().unwrap();
        let mut tensors = load(changed.path(), component);
        tensors.extend(set.merged.clone());
        replace(changed.path(), component, &tensors);
        open_in(changed.path(), Some(DType::F32)).unwrap()
    }
}

fn open(source: Source) -> Box<dyn Pipeline> {
    families::open(source, &Precision { device: Device::Cpu, dtype: Some(DType::F32) }).unwrap()
}
