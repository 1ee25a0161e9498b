//! LoRA files for the tiny checkpoints: those that golden tensors were recorded with, and one change in every dialect that
//! trainers write.

mod delta;
mod dialects;
mod sets;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use scumble_engine::adapters::{AdapterFiles, Lora};
use scumble_engine::families::names::{Names, Original, Part};
use scumble_engine::families::{auraflow, flux, sd35};
use scumble_engine::rng::Generator;
use scumble_engine::{Result, Tensor};

use super::Variant;
use super::weights::{Component, crc, save_with};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// One change of one component, and the files that say it.
pub struct Set {
    /// What it is about.
    pub name: &'static str,
    /// The file of the checkpoint that it changes.
    pub changes: &'static str,
    /// The changed tensors, under the names of that file.
    pub merged: Tensors,
    /// The files, by dialect.
    pub files: BTreeMap<&'static str, LoraFile>,
}

/// A file.
pub struct LoraFile {
    /// Its tensors.
    pub tensors: Tensors,
    /// Its header's metadata.
    pub metadata: HashMap<String, String>,
}

impl LoraFile {
    /// A file without metadata that would matter.
    pub fn of(tensors: Tensors) -> Self {
        Self { tensors, metadata: HashMap::from([("format".to_owned(), "pt".to_owned())]) }
    }

    /// Writes it, and says how a call names it.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn write(&self, path: &Path, scale: f64) -> Lora {
        let tensors: Vec<(&str, Tensor)> = self.tensors.iter().map(|(name, t)| (&**name, t.clone())).collect();
        save_with(path, &tensors, self.metadata.clone());
        lora(path, scale)
    }
}

/// A LoRA in a file.
pub fn lora(path: impl Into<PathBuf>, scale: f64) -> Lora {
    let path = path.into();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Lora { files: AdapterFiles { name, weights: vec![path], ..AdapterFiles::default() }, scale }
}

/// The two LoRAs that the golden tensors of `flux-dev-lora` were recorded with: one with alpha, one without.
///
/// # Panics
/// Where they cannot be written.
pub fn golden(folder: &Path) -> Vec<Lora> {
    let write = |(index, (rank, alpha, scale)): (usize, (usize, Option<f32>, f64))| {
        let tensors = golden_tensors(index, rank, alpha).expect("tensors of these sizes");
        LoraFile::of(tensors).write(&folder.join(format!("lora_{index}.safetensors")), scale)
    };
    [(4, Some(2.0), 0.8), (8, None, -0.5)].into_iter().enumerate().map(write).collect()
}

fn golden_tensors(index: usize, rank: usize, alpha: Option<f32>) -> Result<Tensors> {
    const CHANGED: [&str; 7] =
        ["attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "ff.net.0.proj", "proj_mlp", "proj_out"];
    let mut tensors = Tensors::new();
    for (name, tensor) in transformer(Variant::Dev).tensors() {
        let Some(module) = name.strip_suffix(".weight") else { continue };
        if !module.contains("blocks") || !CHANGED.iter().any(|end| module.ends_with(end)) {
            continue;
        }
        let (output, input) = tensor.dims2()?;
        let mut generator = Generator::new(crc(&format!("lora{index}/{module}")));
        let root = (input as f64).sqrt() as f32;
        let a: Vec<f32> = generator.randn(rank * input).into_iter().map(|x| x / root).collect();
        let b: Vec<f32> = generator.randn(output * rank).into_iter().map(|x| 0.2 * x).collect();
        let device = tensor.device();
        let mut put = |end: &str, t: Tensor| tensors.insert(format!("transformer.{module}.{end}"), t);
        put("lora_A.weight", Tensor::from_vec(a, (rank, input), device)?);
        put("lora_B.weight", Tensor::from_vec(b, (output, rank), device)?);
        if let Some(alpha) = alpha {
            put("alpha", Tensor::new(alpha, device)?);
        }
    }
    Ok(tensors)
}

/// Random changes of a checkpoint in every dialect; none for a model that takes no LoRAs.
///
/// # Panics
/// Never, for the variants there are.
pub fn sets(variant: Variant) -> Vec<Set> {
    sets_over(variant, &BTreeMap::new())
}

/// The same of a checkpoint of which these components have other numbers.
///
/// # Panics
/// For components of other names and shapes.
pub fn sets_over(variant: Variant, components: &BTreeMap<String, Tensors>) -> Vec<Set> {
    if matches!(variant, Variant::FLite | Variant::OmniGen2) {
        return Vec::new();
    }
    sets::sets(variant, components).expect("tensors of these sizes")
}

/// The publisher's names of a transformer's tensors.
fn originals(variant: Variant, shapes: &BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Original> {
    let names: &Names = match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill => &flux::NAMES,
        Variant::Sd35 => &sd35::NAMES,
        Variant::AuraFlow => &auraflow::NAMES,
        Variant::FLite | Variant::OmniGen2 => unreachable!("they take no LoRAs"),
        // diffusers took over its publisher's
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => {
            return shapes.iter().map(as_it_is).collect();
        }
    };
    names.originals(shapes)
}

fn as_it_is((name, shape): (&String, &Vec<usize>)) -> (String, Original) {
    let parts = vec![Part { name: name.clone(), rows: shape[0] }];
    (name.clone(), Original { shape: shape.clone(), parts, swapped: false })
}

fn component(variant: Variant, folder: &str) -> Component {
    let all = Component::of(variant);
    all.into_iter().find(|component| component.folder == folder).expect("every pipeline has these")
}

fn transformer(variant: Variant) -> Component {
    component(variant, "transformer")
}
