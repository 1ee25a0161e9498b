//! Which module of the model a name means. Every spelling is made from the names that the model asked for, and looked up:
//! whether an underscore was a dot is never guessed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::families::names::{Names, Original};
use crate::weights::Weights;

/// A component that LoRAs may change.
pub(crate) struct Part<'a> {
    /// Its folder in the checkpoint, as metadata of LoRAs name it.
    pub(crate) folder: &'static str,
    /// Its held tensors.
    pub(crate) weights: &'a Weights,
    /// Its publisher's names, where diffusers renamed them.
    pub(crate) names: Option<&'static Names>,
    /// What LoRAs put before the names of its modules: with a `_` at the end, dots in names are underscores.
    pub(crate) prefixes: &'static [&'static str],
}

type Shapes = BTreeMap<String, Vec<usize>>;

/// What stands before the names of a transformer.
pub(crate) const TRANSFORMER: &[&str] = &[
    "transformer.",
    "diffusion_model.",
    "model.diffusion_model.",
    "base_model.model.",
    "transformer.base_model.model.",
    "",
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
];

/// XLabs' processors: the module of the original that they belong to, and how many of its parts they change.
const XLABS: &[(&str, &str, usize)] = &[
    (".img_attn.qkv", ".processor.qkv_lora1", 3),
    (".img_attn.proj", ".processor.proj_lora1", 1),
    (".txt_attn.qkv", ".processor.qkv_lora2", 3),
    (".txt_attn.proj", ".processor.proj_lora2", 1),
    (".linear1", ".processor.qkv_lora", 3),
    (".linear2", ".processor.proj_lora", 1),
];

/// A module, or a single tensor: what a change of it changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Which component.
    pub(super) part: usize,
    /// The tensors of its weight, in the order of its rows.
    pub(super) pieces: Vec<Piece>,
    /// Columns of its weight; of a tensor with more dimensions, all after the first together.
    pub(super) columns: usize,
    /// Columns that it has in models that see nothing beside the latents, where this one does: the first of all.
    pub(super) narrow: Option<usize>,
    /// Whether its halves are in the other order than in the one piece.
    pub(super) swapped: bool,
}

/// A tensor of the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Full name.
    pub(super) weight: String,
    /// The bias beside it, where there is one.
    pub(super) bias: Option<String>,
    /// Rows.
    pub(super) rows: usize,
}

/// All spellings.
pub(super) struct Lookup<'a> {
    parts: &'a [Part<'a>],
    tables: Vec<Table>,
}

/// The modules of one component, with dots and with underscores.
#[derive(Default)]
struct Table {
    dotted: HashMap<String, Arc<Target>>,
    joined: HashMap<String, Arc<Target>>,
}

impl Target {
    /// Rows of its weight.
    pub(super) fn rows(&self) -> usize {
        self.pieces.iter().map(|piece| piece.rows).sum()
    }

    /// Its module in diffusers' names, where it is one.
    pub(super) fn module(&self) -> Option<&str> {
        let [piece] = &self.pieces[..] else { return None };
        Some(piece.weight.strip_suffix(".weight").unwrap_or(&piece.weight))
    }

    /// The rows of each piece in it: (first, count), in the piece's own order.
    pub(super) fn cuts(&self) -> Vec<(&Piece, Vec<(usize, usize)>)> {
        let mut first = 0;
        let cut = |piece: &'_ Piece| {
            let rows = piece.rows;
            let range =
                if self.swapped { vec![(rows / 2, rows - rows / 2), (0, rows / 2)] } else { vec![(first, rows)] };
            first += rows;
            range
        };
        let ranges: Vec<_> = self.pieces.iter().map(cut).collect();
        self.pieces.iter().zip(ranges).collect()
    }
}

impl<'a> Lookup<'a> {
    pub(super) fn new(parts: &'a [Part<'a>]) -> Self {
        Self { parts, tables: parts.iter().enumerate().map(|(number, part)| Table::of(part, number)).collect() }
    }

    /// The module of a name without its end.
    pub(super) fn find(&self, stem: &str) -> Option<&Arc<Target>> {
        self.parts.iter().zip(&self.tables).find_map(|(part, table)| {
            part.prefixes.iter().find_map(|prefix| {
                let spellings = if prefix.ends_with('_') { &table.joined } else { &table.dotted };
                spellings.get(stem.strip_prefix(prefix)?)
            })
        })
    }
}

impl Table {
    fn of(part: &Part<'_>, number: usize) -> Self {
        let asked = part.weights.asked();
        let mut table = Self::default();
        for (name, shape) in asked.iter().filter(|(name, _)| !is_bias(name, &asked)) {
            let module = module(name);
            let bias = Some(format!("{module}.bias")).filter(|bias| asked.contains_key(bias) && module != name);
            let rows = shape.first().copied().unwrap_or(1);
            let columns = shape.iter().skip(1).product();
            let pieces = vec![Piece { weight: name.clone(), bias, rows }];
            let narrow = narrow(name, columns, &asked);
            let target = Arc::new(Target { part: number, pieces, columns, narrow, swapped: false });
            table.insert(module.to_owned(), &target);
            table.insert_aliases(module, &target);
        }
        if let Some(names) = part.names {
            table.add_originals(&names.originals(&asked), number, &asked);
        }
        table
    }

    fn add_originals(&mut self, originals: &BTreeMap<String, Original>, number: usize, asked: &Shapes) {
        for (name, original) in originals.iter().filter(|(name, _)| !is_bias(name, originals)) {
            let module = module(name);
            let biases = originals.get(&format!("{module}.bias")).filter(|_| module != name);
            let piece = |i: usize| Piece {
                weight: original.parts[i].name.clone(),
                bias: biases.and_then(|biases| Some(biases.parts.get(i)?.name.clone())),
                rows: original.parts[i].rows,
            };
            let columns = original.shape.iter().skip(1).product();
            let target = |parts: usize| {
                Arc::new(Target {
                    part: number,
                    pieces: (0..parts.min(original.parts.len())).map(piece).collect(),
                    columns,
                    narrow: narrow(&original.parts[0].name, columns, asked),
                    swapped: original.swapped,
                })
            };
            let whole = target(original.parts.len());
            self.insert(module.to_owned(), &whole);
            // a norm's tensor is its module to some
            if let Some(norm) = name.strip_suffix(".scale") {
                self.insert(norm.to_owned(), &whole);
            }
            for (end, processor, parts) in XLABS {
                if let Some(block) = module.strip_suffix(end) {
                    self.insert(format!("{block}{processor}"), &target(*parts));
                }
            }
        }
    }

    /// Other spellings of diffusers' and transformers' own names.
    fn insert_aliases(&mut self, module: &str, target: &Arc<Target>) {
        // old diffusers kept the LoRAs of attention in processors
        if let Some((block, leaf)) = module.split_once(".attn.") {
            let leaf = leaf.strip_suffix(".0").unwrap_or(leaf);
            self.insert(format!("{block}.attn.processor.{leaf}"), target);
        }
        // transformers 5 leaves this out
        match module.strip_prefix("text_model.") {
            Some(bare) => self.insert(bare.to_owned(), target),
            None => self.insert(format!("text_model.{module}"), target),
        }
    }

    /// Where two modules have one spelling, the first keeps it.
    fn insert(&mut self, dotted: String, target: &Arc<Target>) {
        self.joined.entry(dotted.replace('.', "_")).or_insert_with(|| Arc::clone(target));
        self.dotted.entry(dotted).or_insert_with(|| Arc::clone(target));
    }
}

/// FLUX Fill sees a picture and a mask beside the latents, which come first; LoRAs of other FLUX models know only those.
fn narrow(name: &str, columns: usize, asked: &Shapes) -> Option<usize> {
    let latents = *asked.get("proj_out.weight").filter(|_| name == "x_embedder.weight")?.first()?;
    (latents < columns).then_some(latents)
}

fn module(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// Whether a tensor is the bias of a module that has a weight too.
fn is_bias<T>(name: &str, all: &BTreeMap<String, T>) -> bool {
    name.strip_suffix(".bias").is_some_and(|module| all.contains_key(&format!("{module}.weight")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Result;
    use crate::families::{auraflow, flux, sd35};
    use crate::weights::Config;

    fn recorded(load: impl FnOnce(&Config, &Weights) -> Result<()>) -> Weights {
        let recorder = Weights::recorder();
        let text = json!({ "guidance_embeds": true, "in_channels": 16 }).to_string();
        let config = Config::parse("published".into(), text.as_bytes()).expect("an object");
        load(&config, &recorder).expect("a recorder has everything");
        recorder
    }

    /// Every spelling of every module of the released models means one module: with underscores for dots too.
    #[test]
    fn no_two_modules_have_one_spelling() {
        let flux = recorded(|c, w| flux::FluxTransformer::load(&flux::FluxConfig::read(c)?, w).map(drop));
        let sd35 = recorded(|c, w| sd35::Sd35Transformer::load(&sd35::Sd35Config::read(c)?, w).map(drop));
        let aura = recorded(|c, w| auraflow::AuraTransformer::load(&auraflow::AuraConfig::read(c)?, w).map(drop));
        for (weights, names) in [(&flux, &flux::NAMES), (&sd35, &sd35::NAMES), (&aura, &auraflow::NAMES)] {
            let part = Part { folder: "transformer", weights, names: Some(names), prefixes: TRANSFORMER };
            let table = Table::of(&part, 0);
            assert!(table.dotted.len() > 300);
            for (dotted, target) in &table.dotted {
                assert_eq!(target, &table.joined[&dotted.replace('.', "_")], "{dotted}");
            }
            let originals = names.originals(&weights.asked());
            for (name, original) in originals.iter().filter(|(name, _)| !is_bias(name, &originals)) {
                let found = &table.dotted[module(name)];
                let pieces = found.pieces.iter().map(|piece| &piece.weight);
                assert!(pieces.eq(original.parts.iter().map(|part| &part.name)), "{name}");
                assert_eq!(found.swapped, original.swapped, "{name}");
            }
        }
    }

    #[test]
    fn pieces_of_a_fused_matrix_follow_each_other_and_halves_change_places() {
        let weights = recorded(|c, w| flux::FluxTransformer::load(&flux::FluxConfig::read(c)?, w).map(drop));
        let part = Part { folder: "transformer", weights: &weights, names: Some(&flux::NAMES), prefixes: TRANSFORMER };
        let parts = [part];
        let lookup = Lookup::new(&parts);
        let cuts = |stem: &str| -> Vec<(String, Vec<(usize, usize)>)> {
            let target = lookup.find(stem).unwrap_or_else(|| panic!("{stem}"));
            target.cuts().into_iter().map(|(piece, rows)| (piece.weight.clone(), rows)).collect()
        };
        let single = "single_transformer_blocks.7";
        let expected = [
            (format!("{single}.attn.to_q.weight"), vec![(0, 3072)]),
            (format!("{single}.attn.to_k.weight"), vec![(3072, 3072)]),
            (format!("{single}.attn.to_v.weight"), vec![(6144, 3072)]),
            (format!("{single}.proj_mlp.weight"), vec![(9216, 12288)]),
        ];
        assert_eq!(cuts("lora_unet_single_blocks_7_linear1"), expected);
        assert_eq!(cuts("single_blocks.7.processor.qkv_lora"), expected[..3]);
        let swapped = [("norm_out.linear.weight".to_owned(), vec![(3072, 3072), (0, 3072)])];
        assert_eq!(cuts("diffusion_model.final_layer.adaLN_modulation.1"), swapped);
        assert_eq!(cuts("transformer.norm_out.linear"), [("norm_out.linear.weight".to_owned(), vec![(0, 6144)])]);
        assert!(lookup.find("transformer.transformer_blocks.19.attn.to_q").is_none());
        assert!(lookup.find("lora_unet_transformer.x_embedder").is_none());
    }
}
