//! One random change after another, with the files that say it.

use std::collections::BTreeMap;

use scumble_engine::families::names::{Original, Part};
use scumble_engine::rng::Generator;
use scumble_engine::{Result, Tensor};

use super::delta::{Delta, swap};
use super::dialects::{DIALECTS, Dialect, FULL, NOT_AURAFLOW, Style, in_metadata, noted, written};
use super::{LoraFile, Set, Tensors, component, originals, transformer};
use crate::tiny::Variant;

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

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
        Variant::FLite | Variant::OmniGen2 => (&[], &[]),
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => (
            &[
                "attn1.to_q",
                "attn1.to_k",
                "attn1.to_v",
                "attn1.to_out",
                "_t",
                "ff_t.w1",
                "ff_t.w2",
                "shared_experts.w3",
                "experts.0.w1",
                "experts.2.w2",
                "experts.3.w3",
            ],
            &["gate", "adaLN_modulation.1", "x_embedder.proj", "final_layer.linear", "_embedder.linear_1"],
        ),
    }
}

pub(super) fn sets(variant: Variant, components: &BTreeMap<String, Tensors>) -> Result<Vec<Set>> {
    let transformer = transformer(variant);
    let state = components.get("transformer").cloned().unwrap_or_else(|| transformer.tensors());
    let originals = originals(variant, &transformer.shapes);
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
    sets.extend(encoders(variant, components)?);
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

/// The text encoders, whose names nobody changes: what stands before them does.
fn encoders(variant: Variant, components: &BTreeMap<String, Tensors>) -> Result<Vec<Set>> {
    let (clip_l, t5) = ("text_encoders.clip_l.transformer.", "text_encoders.t5xxl.transformer.");
    let all: &[(&'static str, &'static str, &[&'static str])] = match variant {
        Variant::Schnell | Variant::Dev | Variant::Fill => &[
            ("text_encoder", "text_encoder/model.safetensors", &["lora_te1_", "lora_te_", "text_encoder.", clip_l]),
            ("text_encoder_2", "text_encoder_2/model.safetensors", &["lora_te2_", "lora_te3_", "text_encoder_2.", t5]),
        ],
        Variant::Sd35 => &[
            ("text_encoder", "text_encoder/model.safetensors", &["lora_te1_", "lora_te_", "text_encoder.", clip_l]),
            (
                "text_encoder_2",
                "text_encoder_2/model.safetensors",
                &["lora_te2_", "text_encoder_2.", "text_encoders.clip_g.transformer."],
            ),
            ("text_encoder_3", "text_encoder_3/model.safetensors", &["lora_te3_", "text_encoder_3.", t5]),
        ],
        Variant::AuraFlow => &[(
            "text_encoder",
            "text_encoder/model.safetensors",
            &["lora_te_", "text_encoder.", "text_encoders.pile_t5xl.transformer."],
        )],
        Variant::FLite | Variant::OmniGen2 => &[],
        // nobody trains them
        Variant::HiDreamFull | Variant::HiDreamDev | Variant::HiDreamFast => &[],
    };
    let state = |folder: &str| components.get(folder).cloned().unwrap_or_else(|| component(variant, folder).tensors());
    all.iter().map(|(folder, changes, prefixes)| encoder(&state(folder), folder, changes, prefixes)).collect()
}

fn encoder(state: &Tensors, folder: &'static str, changes: &'static str, prefixes: &[&'static str]) -> Result<Set> {
    let mut generator = Generator::new(77);
    let mut deltas: Vec<Delta> = Vec::new();
    for (name, tensor) in state {
        let is_in_block = name.contains(".layers.") || name.contains(".block.");
        if is_in_block && name.ends_with(".weight") && tensor.rank() == 2 && !name.contains("relative_attention_bias") {
            let part = Part { name: name.clone(), rows: tensor.dim(0)? };
            let original = Original { shape: tensor.dims().to_vec(), parts: vec![part], swapped: false };
            deltas.push(Delta::draw(name, &original, 1, 1 + deltas.len() % 3, &mut generator)?);
        }
    }
    let mut files = BTreeMap::new();
    for prefix in prefixes {
        let style = if prefix.ends_with('_') { Style::DownAlpha } else { Style::Ab };
        files.insert(*prefix, LoraFile::of(written(&deltas, &(*prefix, true, *prefix, style))?));
    }
    if folder == "text_encoder" {
        let old = ("old-diffusers", true, "text_encoder.", Style::OldDiffusers);
        files.insert(old.0, LoraFile::of(written(&deltas, &old)?));
    }
    Ok(Set { name: folder, changes, merged: merged(&deltas, state)?, files })
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
