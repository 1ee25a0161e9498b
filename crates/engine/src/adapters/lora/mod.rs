//! LoRAs and their relatives: changes of a model's own matrices, as every trainer writes them.
//!
//! [`overlays`] opens the files of a call, finds the module behind every name (`keys`, `lookup`), reads what is said of it
//! (`module`) and lays it down as changes of the model's tensors (`place`). The model itself is never touched.

mod budget;
mod file;
mod keys;
mod lookup;
mod metadata;
mod module;
mod place;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use lookup::{Part, TRANSFORMER};

use self::budget::Budget;
use self::file::File;
use self::keys::{Role, readings, short};
use self::lookup::{Lookup, Target};
use self::metadata::Metadata;
use self::module::Module;
use super::Lora;
use crate::error::{Error, Result};
use crate::families::Context;
use crate::weights::Overlay;

/// What was tried on a file of which nothing is known.
const DIALECTS: &str = "Tried: PEFT and diffusers (transformer.…, base_model.model.…, text_encoder.…), the publisher's own \
    names (diffusion_model.… or bare), kohya (lora_unet_…, lora_te1_…), OneTrainer (lora_transformer_…), LyCORIS and \
    SimpleTuner (lycoris_…), XLabs (….processor.…)";

/// Blocks that only one family's names speak of.
const BLOCKS: &[(&str, &[&str])] = &[
    ("FLUX", &["double_blocks", "single_blocks"]),
    ("Stable Diffusion 3", &["joint_blocks"]),
    ("AuraFlow", &["double_layers", "single_layers", "joint_transformer_blocks"]),
    ("HiDream", &["double_stream_blocks", "single_stream_blocks"]),
    ("Stable Diffusion 1, 2 or XL", &["input_blocks", "output_blocks", "down_blocks", "up_blocks", "mid_block"]),
];

/// How many names an error lists, and how many a remark.
const NAMED: (usize, usize) = (3, 20);

/// What a call's LoRAs change, for each part of the model; `None` where that is nothing.
///
/// # Errors
/// [`Error::Adapter`] for files that cannot be used; [`Error::Cancelled`].
pub(crate) fn overlays<const N: usize>(
    loras: &[Lora],
    parts: &[Part<'_>; N],
    context: &Context<'_>,
) -> Result<Option<[Overlay; N]>> {
    if loras.is_empty() {
        return Ok(None);
    }
    let lookup = Lookup::new(parts);
    let mut overlays = std::array::from_fn(|_| Overlay::default());
    let mut budget = Budget::of(parts);
    for (index, lora) in distinct(loras) {
        context.observer.ask().check()?;
        if !lora.scale.is_finite() {
            let field = vec!["loras".into(), index.to_string(), "scale".into()];
            let problem = "scale must be a finite number".into();
            return Err(Error::Adapter { field, name: lora.files.name.clone(), problem });
        }
        let asked: usize = parts.iter().map(|part| part.weights.asked().len()).sum();
        // the richest of dialects has eight tensors for a module
        let file = File::open(&lora, index, 8 * asked + 256)?;
        apply(&file, lora.scale, parts, &lookup, &mut budget, &mut overlays, context)?;
    }
    Ok((!overlays.iter().all(Overlay::is_empty)).then_some(overlays))
}

/// The LoRAs of a call with their places in it; one that is named again is read once, and its scales are summed: every
/// change is a multiple of its scale.
fn distinct(loras: &[Lora]) -> Vec<(usize, Cow<'_, Lora>)> {
    let mut distinct: Vec<(usize, Cow<'_, Lora>)> = Vec::new();
    for (index, lora) in loras.iter().enumerate() {
        // a scale that is no number is blamed at its own place
        let same = distinct.iter_mut().find(|(_, first)| first.files.weights == lora.files.weights);
        match same.filter(|_| lora.scale.is_finite()) {
            Some((_, first)) => first.to_mut().scale += lora.scale,
            None => distinct.push((index, Cow::Borrowed(lora))),
        }
    }
    distinct
}

fn apply(
    file: &File,
    scale: f64,
    parts: &[Part<'_>],
    lookup: &Lookup<'_>,
    budget: &mut Budget,
    overlays: &mut [Overlay],
    context: &Context<'_>,
) -> Result<()> {
    let names = file.names();
    let (modules, strays) = sort(file, &names, lookup)?;
    check_strays(file, parts, &modules, &strays)?;
    check_share(file, &names, &strays)?;
    budget::check(file, &modules)?;
    let metadata = Metadata::read(file)?;
    for module in &modules {
        context.observer.ask().check()?;
        let part = &parts[module.target.part];
        let said = module.read(file, part.folder, &metadata)?;
        budget.spend(file, &said)?;
        // a file is looked at even where it changes nothing
        if scale != 0.0 {
            place::place(said, module, scale, file, part.weights, &mut overlays[module.target.part])?;
        }
    }
    if !strays.is_empty() {
        let (count, all, first) = (strays.len(), names.len(), listed(&strays, NAMED.1));
        let sentence = format!("{count} of the {all} tensors have no place in this model and are left out: {first}");
        context.observer.warn(&format!("LoRA {}: {sentence}", file.name()));
    }
    Ok(())
}

/// Some names that mean nothing here are those of another version or of an encoder that is not there; most of them mean
/// that the file is for another model.
fn check_share(file: &File, names: &[&str], strays: &[&str]) -> Result<()> {
    let (count, all) = (strays.len(), names.len());
    if 2 * count <= all {
        return Ok(());
    }
    let first = listed(strays, NAMED.0);
    Err(file.refuse(format!("{count} of its {all} tensors have no place in this model, so it is for another: {first}")))
}

/// The modules that a file speaks of, and the names that mean none.
fn sort<'a>(file: &File, names: &[&'a str], lookup: &Lookup<'_>) -> Result<(Vec<Module<'a>>, Vec<&'a str>)> {
    let (mut modules, mut strays) = (BTreeMap::<&str, Module<'a>>::new(), Vec::new());
    for name in names.iter().copied() {
        if name.ends_with("query_norm.scale") || name.ends_with("key_norm.scale") {
            let what = "it is a control LoRA, which replaces norms and widens the input";
            return Err(file.refuse(format!("{what} ({}): those are not supported", short(name))));
        }
        if readings(name).any(|(_, role)| role == Role::Unknown) {
            return Err(file.refuse(format!("{} asks for something that is not supported", short(name))));
        }
        let found = readings(name).find_map(|(stem, role)| Some((stem, role, lookup.find(stem)?)));
        let Some((stem, role, target)) = found else {
            strays.push(name);
            continue;
        };
        let new = || Module { stem, target: Arc::clone(target), roles: BTreeMap::new() };
        if let Some(twin) = modules.entry(stem).or_insert_with(new).roles.insert(role, name) {
            return Err(file.refuse(format!("{} and {} say the same thing twice", short(twin), short(name))));
        }
    }
    let modules: Vec<Module<'a>> = modules.into_values().collect();
    check_twins(file, &modules)?;
    Ok((modules, strays))
}

/// Two spellings of one module in one file: which of them is meant?
fn check_twins(file: &File, modules: &[Module<'_>]) -> Result<()> {
    let mut seen: BTreeMap<(usize, Vec<&str>), &str> = BTreeMap::new();
    for Module { stem, target, .. } in modules {
        let Target { part, pieces, .. } = &**target;
        let key = (*part, pieces.iter().map(|piece| piece.weight.as_str()).collect());
        if let Some(twin) = seen.insert(key, stem) {
            return Err(file.refuse(format!("{} and {} are two names of one module", short(twin), short(stem))));
        }
    }
    Ok(())
}

/// A file of which nothing fits is for another model, and so is one that speaks of another family's blocks.
fn check_strays(file: &File, parts: &[Part<'_>], modules: &[Module<'_>], strays: &[&str]) -> Result<()> {
    let own: Vec<&str> =
        parts.iter().filter_map(|part| part.names).flat_map(|n| n.blocks).flat_map(|b| [b.ours, b.theirs]).collect();
    let foreign = BLOCKS.iter().filter(|(_, blocks)| !blocks.iter().any(|block| own.contains(block)));
    let foreign = foreign.filter_map(|(family, blocks)| {
        Some((family, strays.iter().find(|name| blocks.iter().any(|block| speaks_of(name, block)))?))
    });
    let foreign = foreign.collect::<Vec<_>>();
    match (modules, strays.first(), foreign.first()) {
        ([], Some(first), Some((family, _))) => {
            let problem =
                format!("it is a LoRA for {family}, another model: the first of its names is {}", short(first));
            Err(file.refuse(format!("{problem}. {DIALECTS}")))
        }
        ([], Some(first), None) => {
            let problem = format!("none of its names means a module of this model, the first is {}", short(first));
            Err(file.refuse(format!("{problem}. {DIALECTS}")))
        }
        (_, _, Some((family, name))) => {
            let problem = format!("beside names of this model it holds those of {family}, such as {}", short(name));
            Err(file.refuse(problem))
        }
        _ => Ok(()),
    }
}

/// Whether a word stands in a name, whatever joins the words.
fn speaks_of(name: &str, word: &str) -> bool {
    let is_joint = |c: Option<char>| c.is_none_or(|c| c == '.' || c == '_');
    name.match_indices(word)
        .any(|(at, _)| is_joint(name[..at].chars().next_back()) && is_joint(name[at + word.len()..].chars().next()))
}

/// The first few of many names.
fn listed(names: &[&str], most: usize) -> String {
    let first: Vec<String> = names.iter().take(most).map(|name| short(name)).collect();
    let more = if names.len() > most { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::AdapterFiles;

    #[test]
    fn a_file_that_is_named_again_is_read_once() {
        let lora = |path: &str, scale| {
            let files = AdapterFiles { weights: vec![path.into()], ..AdapterFiles::default() };
            Lora { files, scale }
        };
        let named = [lora("a", 1.0), lora("b", 0.5), lora("a", 0.25), lora("a", f64::NAN), lora("a", -1.0)];
        let found: Vec<_> = distinct(&named).into_iter().map(|(i, lora)| (i, lora.scale)).collect();
        assert_eq!(found[..2], [(0, 0.25), (1, 0.5)]);
        assert!(found.len() == 3 && found[2].0 == 3 && found[2].1.is_nan(), "{found:?}");
    }
}
