//! The spellings.

use std::collections::{BTreeMap, HashMap};

use scumble_engine::families::names::Original;
use scumble_engine::rng::Generator;
use scumble_engine::{Device, Result, Tensor};
use serde_json::{Map, json};

use super::delta::{Delta, swap};
use super::{LoraFile, Set, Tensors, component, names, transformer};
use crate::tiny::Variant;

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";
const CLIP: &str = "text_encoder/model.safetensors";

/// alpha / rank, in turn.
const ALPHA: [f64; 4] = [0.5, 1.0, 2.0, 1.0 / 3.0];

/// How the numbers of a module are spread over tensors.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Ab,
    AbDefault,
    OldDiffusers,
    DownAlpha,
    Down,
    Lokr,
    Loha,
}

/// Name, whether modules are diffusers' and not the publisher's, what stands before them, how they are written.
type Dialect = (&'static str, bool, &'static str, Style);

const DIALECTS: &[Dialect] = &[
    ("peft", true, "transformer.", Style::Ab),
    ("bare", true, "", Style::Ab),
    ("old-diffusers", true, "transformer.", Style::OldDiffusers),
    ("base-model", true, "base_model.model.", Style::AbDefault),
    ("bfl", false, "diffusion_model.", Style::Ab),
    ("bfl-alpha", false, "diffusion_model.", Style::DownAlpha),
    ("original-bare", false, "", Style::Ab),
    ("kohya", false, "lora_unet_", Style::DownAlpha),
    ("kohya-no-alpha", false, "lora_unet_", Style::Down),
    ("onetrainer", true, "lora_transformer_", Style::DownAlpha),
    ("lokr", false, "lora_unet_", Style::Lokr),
    ("lokr-lycoris", true, "lycoris_", Style::Lokr),
    ("lokr-bfl", false, "diffusion_model.", Style::Lokr),
    ("loha", false, "lora_unet_", Style::Loha),
    ("loha-lycoris", true, "lycoris_", Style::Loha),
];

/// Dialects that no trainer writes for AuraFlow.
const NOT_AURAFLOW: [&str; 2] = ["base-model", "onetrainer"];
/// Those that the rarer modules are written in.
const FULL: [&str; 5] = ["peft", "bfl", "kohya", "lokr-lycoris", "loha"];

/// Ends of the modules that trainers change most, and of all others.
fn ends(variant: Variant) -> (&'static [&'static str], &'static [&'static str]) {
    match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill => (
            &["_attn.qkv", "_attn.proj", "_mlp.0", "_mlp.2", ".linear1", ".linear2"],
            &[".lin", "_in", "_in.in_layer", "_in.out_layer", "final_layer.linear", "final_layer.adaLN_modulation.1"],
        ),
        Variant::Sd35 => (
            &["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"],
            &["adaLN_modulation.1", "_embedder.mlp.0", "_embedder.mlp.2", "context_embedder", "final_layer.linear"],
        ),
        Variant::AuraFlow => (
            &["w1q", "w1k", "w1v", "w1o", "w2q", "w2k", "w2v", "w2o", ".c_fc1", ".c_fc2", ".c_proj"],
            &["modF.1", "modX.1", "modC.1", "modCX.1", "_linear", "t_embedder.mlp.0", "t_embedder.mlp.2"],
        ),
    }
}

pub(super) fn sets(variant: Variant) -> Result<Vec<Set>> {
    let transformer = transformer(variant);
    let (state, originals) = (transformer.tensors(), names(variant).originals(&transformer.shapes));
    let (usual, rare) = ends(variant);
    let all: Vec<&str> = usual.iter().chain(rare).copied().collect();
    let matrices = Matrices { state: &state, originals: &originals };
    let main = matrices.draw(usual, usize::MAX, 7)?;
    let full = matrices.draw(&all, usize::MAX, 8)?;
    let mut sets = vec![matrices.main(variant, &main)?, matrices.full(&full)?];
    sets.extend(matrices.dora(&main)?);
    sets.push(matrices.differences()?);
    if matches!(variant, Variant::Schnell | Variant::Dev | Variant::Fill) {
        sets.push(matrices.xlabs()?);
    }
    if variant != Variant::AuraFlow {
        sets.push(clip(variant)?);
    }
    Ok(sets)
}

/// A transformer in both namings.
struct Matrices<'a> {
    state: &'a Tensors,
    originals: &'a BTreeMap<String, Original>,
}

impl Matrices<'_> {
    /// Changes of all matrices with these ends; of fused ones, of the first `parts`.
    fn draw(&self, ends: &[&str], parts: usize, seed: u64) -> Result<Vec<Delta>> {
        let mut generator = Generator::new(seed);
        let mut deltas = Vec::new();
        for (name, original) in self.originals {
            let Some(module) = name.strip_suffix(".weight") else { continue };
            if original.shape.len() == 2 && ends.iter().any(|end| module.ends_with(end)) {
                deltas.push(Delta::draw(name, original, parts, 1 + deltas.len() % 3, &mut generator)?);
            }
        }
        Ok(deltas)
    }

    fn merged(&self, deltas: &[Delta]) -> Result<Tensors> {
        merged(deltas, self.state)
    }

    /// A publisher's tensor.
    fn original(&self, name: &str) -> Result<Tensor> {
        let original = &self.originals[name];
        let parts: Vec<&Tensor> = original.parts.iter().map(|part| &self.state[&part.name]).collect();
        let whole = Tensor::cat(&parts, 0)?;
        if original.swapped { swap(&whole) } else { Ok(whole) }
    }

    /// Diffusers' tensors in a publisher's.
    fn back(&self, name: &str, whole: &Tensor) -> Result<Tensors> {
        let original = &self.originals[name];
        let whole = if original.swapped { swap(whole)? } else { whole.clone() };
        let mut first = 0;
        let mut parts = Tensors::new();
        for part in &original.parts {
            parts.insert(part.name.clone(), whole.narrow(0, first, part.rows)?.contiguous()?);
            first += part.rows;
        }
        Ok(parts)
    }

    fn main(&self, variant: Variant, deltas: &[Delta]) -> Result<Set> {
        let mut files = BTreeMap::new();
        for dialect in DIALECTS.iter().filter(|(name, ..)| variant != Variant::AuraFlow || !NOT_AURAFLOW.contains(name))
        {
            files.insert(dialect.0, LoraFile::of(written(deltas, dialect)?));
        }
        let named = noted(files["peft"].tensors.clone(), &[("name", "tiny".into())]);
        files.insert("ai-toolkit", named);
        files.insert("peft-metadata", in_metadata(deltas)?);
        Ok(Set { name: "main", changes: TRANSFORMER, merged: self.merged(deltas)?, files })
    }

    fn full(&self, deltas: &[Delta]) -> Result<Set> {
        let dialects = DIALECTS.iter().filter(|(name, ..)| FULL.contains(name));
        let file = |dialect: &Dialect| -> Result<_> { Ok((dialect.0, LoraFile::of(written(deltas, dialect)?))) };
        let files = dialects.map(file).collect::<Result<_>>()?;
        Ok(Set { name: "full", changes: TRANSFORMER, merged: self.merged(deltas)?, files })
    }

    /// DoRA with lengths of rows and of columns, away from those that the sum has, so that leaving them out shows.
    fn dora(&self, deltas: &[Delta]) -> Result<Vec<Set>> {
        let mut generator = Generator::new(57);
        let mut sets = Vec::new();
        for (name, dim) in [("dora", 1), ("dora-columns", 0)] {
            let by = |wanted| DIALECTS.iter().find(|(name, ..)| *name == wanted).expect("one of the dialects");
            let (mut kohya, mut lokr) = (written(deltas, by("kohya"))?, written(deltas, by("lokr"))?);
            let (mut peft, mut merged) = (written(deltas, by("peft"))?, Tensors::new());
            for delta in deltas {
                let weight = format!("{}.weight", delta.name);
                let new = (self.original(&weight)? + delta.dense(&delta.w1)?)?;
                let lengths = new.sqr()?.sum_keepdim(dim)?.sqrt()?;
                let wanted = (&lengths * ((generator.noise(lengths.dims())? * 0.15)? + 1.0)?)?;
                let key = format!("lora_unet_{}.dora_scale", delta.name.replace('.', "_"));
                kohya.insert(key.clone(), wanted.clone());
                lokr.insert(key, wanted.clone());
                merged.extend(self.back(&weight, &new.broadcast_mul(&(&wanted / &lengths)?)?)?);
                if dim == 1 {
                    for (part, lengths) in self.back(&weight, &wanted)? {
                        let module = part.trim_end_matches(".weight");
                        peft.insert(format!("transformer.{module}.lora_magnitude_vector"), lengths.flatten_all()?);
                    }
                }
            }
            let mut files = BTreeMap::from([("kohya", LoraFile::of(kohya)), ("lokr", LoraFile::of(lokr))]);
            if dim == 1 {
                files.insert("peft", LoraFile::of(peft));
            }
            sets.push(Set { name, changes: TRANSFORMER, merged, files });
        }
        Ok(sets)
    }

    /// Plain differences of biases and norms.
    fn differences(&self) -> Result<Set> {
        let mut generator = Generator::new(67);
        let (mut merged, mut bfl, mut kohya) = (Tensors::new(), Tensors::new(), Tensors::new());
        for (name, original) in self.originals.iter().filter(|(_, original)| original.shape.len() == 1) {
            let change = (generator.noise(&original.shape)? * 0.1)?;
            merged.extend(self.back(name, &(self.original(name)? + &change)?)?);
            let (stem, end) = match name.rsplit_once('.') {
                Some((stem, "bias")) => (stem, "diff_b"),
                Some((stem, "weight")) => (stem, "diff"),
                _ => (&**name, "diff"),
            };
            bfl.insert(format!("diffusion_model.{stem}.{end}"), change.clone());
            let end = if end == "diff" { "w_norm" } else { end };
            kohya.insert(format!("lora_unet_{}.{end}", stem.replace('.', "_")), change);
        }
        let files = BTreeMap::from([("bfl", LoraFile::of(bfl)), ("kohya", LoraFile::of(kohya))]);
        Ok(Set { name: "differences", changes: TRANSFORMER, merged, files })
    }

    /// XLabs' processors change queries, keys and values of `linear1`, and not what is beside them.
    fn xlabs(&self) -> Result<Set> {
        let deltas = self.draw(&["_attn.qkv", "_attn.proj", ".linear1", ".linear2"], 3, 9)?;
        let mut tensors = Tensors::new();
        for delta in &deltas {
            let (block, module) = delta.name.split_at(delta.name.match_indices('.').nth(1).expect("in a block").0);
            let processor = match module {
                ".img_attn.qkv" => "qkv_lora1",
                ".img_attn.proj" => "proj_lora1",
                ".txt_attn.qkv" => "qkv_lora2",
                ".txt_attn.proj" => "proj_lora2",
                ".linear1" => "qkv_lora",
                _ => "proj_lora",
            };
            let (b, a) = delta.factors(&delta.w1)?;
            tensors.insert(format!("{block}.processor.{processor}.down.weight"), a);
            tensors.insert(format!("{block}.processor.{processor}.up.weight"), b);
        }
        let peft = written(&deltas, &DIALECTS[0])?;
        let files = BTreeMap::from([("xlabs", LoraFile::of(tensors)), ("peft", LoraFile::of(peft))]);
        Ok(Set { name: "xlabs", changes: TRANSFORMER, merged: self.merged(&deltas)?, files })
    }
}

/// CLIP-L, whose names nobody changes.
fn clip(variant: Variant) -> Result<Set> {
    let clip = component(variant, "text_encoder");
    let (state, mut generator) = (clip.tensors(), Generator::new(77));
    let mut deltas: Vec<Delta> = Vec::new();
    for (name, tensor) in &state {
        if name.contains(".layers.") && name.ends_with(".weight") && tensor.rank() == 2 {
            let part = scumble_engine::families::names::Part { name: name.clone(), rows: tensor.dim(0)? };
            let original = Original { shape: tensor.dims().to_vec(), parts: vec![part], swapped: false };
            deltas.push(Delta::draw(name, &original, 1, 1 + deltas.len() % 3, &mut generator)?);
        }
    }
    let mut files = BTreeMap::new();
    for dialect in [
        ("kohya", true, "lora_te1_", Style::DownAlpha),
        ("peft", true, "text_encoder.", Style::Ab),
        ("comfy", true, "text_encoders.clip_l.transformer.", Style::DownAlpha),
        ("old-diffusers", true, "text_encoder.", Style::OldDiffusers),
    ] {
        files.insert(dialect.0, LoraFile::of(written(&deltas, &dialect)?));
    }
    Ok(Set { name: "clip", changes: CLIP, merged: merged(&deltas, &state)?, files })
}

fn merged(deltas: &[Delta], state: &Tensors) -> Result<Tensors> {
    let mut merged = Tensors::new();
    for delta in deltas {
        for (module, w1) in delta.pieces()? {
            let name = format!("{module}.weight");
            merged.insert(name.clone(), (&state[&name] + delta.dense(&w1)?)?);
        }
    }
    Ok(merged)
}

/// All changes in one dialect.
fn written(deltas: &[Delta], (_, ours, prefix, style): &Dialect) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    let mut index = 0;
    for delta in deltas {
        let modules = if *ours { delta.pieces()? } else { vec![(&*delta.name, delta.w1.clone())] };
        for (module, w1) in modules {
            let module = if prefix.ends_with('_') { module.replace('.', "_") } else { module.to_owned() };
            let key = format!("{prefix}{module}");
            tensors.extend(match style {
                Style::Lokr => lokr(&key, delta, &w1, index)?,
                Style::Loha => loha(&key, delta, &w1, index)?,
                _ => pair(&key, *style, delta, &w1, index)?,
            });
            index += 1;
        }
    }
    Ok(tensors)
}

fn number(value: f64) -> Result<Tensor> {
    Ok(Tensor::new(value as f32, &Device::Cpu)?)
}

fn keyed<const N: usize>(key: &str, tensors: [(&str, Tensor); N]) -> Tensors {
    tensors.into_iter().map(|(end, tensor)| (format!("{key}.{end}"), tensor)).collect()
}

fn pair(key: &str, style: Style, delta: &Delta, w1: &Tensor, index: usize) -> Result<Tensors> {
    let (b, a) = delta.factors(w1)?;
    let rank = a.dim(0)? as f64;
    let factor = if style == Style::DownAlpha { ALPHA[index % 4] } else { 1.0 };
    let mut tensors = match style {
        Style::Ab => keyed(key, [("lora_A.weight", a), ("lora_B.weight", b)]),
        Style::AbDefault => keyed(key, [("lora_A.default.weight", a), ("lora_B.default.weight", b)]),
        Style::OldDiffusers => keyed(key, [("lora.down.weight", a), ("lora.up.weight", b)]),
        _ => keyed(key, [("lora_down.weight", a), ("lora_up.weight", (b / factor)?)]),
    };
    if style == Style::DownAlpha {
        tensors.insert(format!("{key}.alpha"), number(factor * rank)?);
    }
    Ok(tensors)
}

/// Three ways in turn: w2 in two parts; both whole, where alpha means nothing; w1 in two parts.
fn lokr(key: &str, delta: &Delta, w1: &Tensor, index: usize) -> Result<Tensors> {
    let factor = ALPHA[index % 4];
    let w2 = delta.w2a.matmul(&delta.w2b)?;
    let across = w1.dim(1)?;
    Ok(match index % 3 {
        0 => {
            let parts =
                [("lokr_w1", (w1 / factor)?), ("lokr_w2_a", delta.w2a.clone()), ("lokr_w2_b", delta.w2b.clone())];
            let mut tensors = keyed(key, parts);
            tensors.insert(format!("{key}.alpha"), number(factor * delta.rank as f64)?);
            tensors
        }
        1 => keyed(key, [("lokr_w1", w1.clone()), ("lokr_w2", w2), ("alpha", number(5.0)?)]),
        _ => {
            let (sine, cosine) = (0.6f32, 0.8f32);
            let turn = match across {
                2 => Tensor::new(&[[cosine, -sine], [sine, cosine]], &Device::Cpu)?,
                _ => Tensor::new(&[[1f32]], &Device::Cpu)?,
            };
            let parts = [
                ("lokr_w1_a", (w1.matmul(&turn)? / factor)?),
                ("lokr_w1_b", turn.t()?.contiguous()?),
                ("lokr_w2", w2),
                ("alpha", number(factor * across as f64)?),
            ];
            keyed(key, parts)
        }
    })
}

/// The second product is the outer product of c and e; the first is divided by it.
fn loha(key: &str, delta: &Delta, w1: &Tensor, index: usize) -> Result<Tensors> {
    let (b, a) = delta.factors(w1)?;
    let (rank, factor) = (a.dim(0)?, ALPHA[index % 4]);
    let mut generator = Generator::new(1000 + index as u64);
    let mut positive = |shape: &[usize]| -> Result<Tensor> { Ok(((generator.noise(shape)?.abs()? * 0.5)? + 0.5)?) };
    let (c, e) = (positive(&[b.dim(0)?, 1])?, positive(&[1, a.dim(1)?])?);
    let g = positive(&[1, rank])?;
    let square = f64::from(g.sqr()?.sum_all()?.to_scalar::<f32>()?);
    Ok(keyed(
        key,
        [
            ("hada_w1_a", (b.broadcast_div(&c)? / factor)?),
            ("hada_w1_b", a.broadcast_div(&e)?),
            ("hada_w2_a", (c.matmul(&g)? / square)?),
            ("hada_w2_b", g.t()?.matmul(&e)?),
            ("alpha", number(factor * rank as f64)?),
        ],
    ))
}

/// PEFT tensors whose alphas are in the header.
fn in_metadata(deltas: &[Delta]) -> Result<LoraFile> {
    let (mut tensors, mut ranks, mut alphas) = (Tensors::new(), Map::new(), Map::new());
    let mut index = 0;
    for delta in deltas {
        for (module, w1) in delta.pieces()? {
            let (b, a) = delta.factors(&w1)?;
            let factor = ALPHA[index % 3];
            ranks.insert(module.to_owned(), json!(a.dim(0)?));
            alphas.insert(module.to_owned(), json!(factor * a.dim(0)? as f64));
            let key = format!("transformer.{module}");
            tensors.extend(keyed(&key, [("lora_A.weight", a), ("lora_B.weight", (b / factor)?)]));
            index += 1;
        }
    }
    let notes = json!({
        "transformer.r": 4,
        "transformer.lora_alpha": 4,
        "transformer.rank_pattern": ranks,
        "transformer.alpha_pattern": alphas,
        "transformer.peft_type": "LORA",
    });
    Ok(noted(tensors, &[("lora_adapter_metadata", notes.to_string())]))
}

fn noted(tensors: Tensors, notes: &[(&str, String)]) -> LoraFile {
    let notes = notes.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
    LoraFile { tensors, metadata: notes.chain([("format".to_owned(), "pt".to_owned())]).collect::<HashMap<_, _>>() }
}
