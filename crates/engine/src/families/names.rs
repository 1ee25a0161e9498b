//! What publishers call the tensors of their own files: diffusers cuts fused matrices, renames and reorders.

use std::collections::{BTreeMap, BTreeSet};

/// The names of one publisher, from those of diffusers.
#[derive(Debug)]
pub struct Names {
    /// In front of every name of the transformer, in the publisher's own file.
    pub prefix: &'static str,
    /// Modules and tensors outside the blocks.
    pub top: &'static [Entry],
    /// What comes in numbered blocks.
    pub blocks: &'static [Blocks],
}

/// A kind of block: `ours.3.…` is `theirs.3.…`.
#[derive(Debug)]
pub struct Blocks {
    /// Diffusers' name.
    pub ours: &'static str,
    /// The publisher's name.
    pub theirs: &'static str,
    /// Modules and tensors of a block.
    pub parts: &'static [Entry],
}

/// A module (its weight and bias), or a single tensor by its whole name. Entries with the same `theirs` are row blocks of one
/// fused matrix, in the order in which they are listed.
#[derive(Debug)]
pub struct Entry {
    /// Diffusers' name.
    pub ours: &'static str,
    /// The publisher's name.
    pub theirs: &'static str,
    /// Order of its halves.
    pub halves: Halves,
}

/// Whether a modulation has shift before scale where diffusers has scale before shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halves {
    /// The same order.
    Same,
    /// The other order.
    Swapped,
    /// The other order in the last block.
    SwappedInLast,
}

/// A tensor of a publisher's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Its shape.
    pub shape: Vec<usize>,
    /// What diffusers makes of it, in the order of its rows.
    pub parts: Vec<Part>,
    /// Whether its halves are in the other order than in diffusers; it then has one part.
    pub swapped: bool,
}

/// Some rows of a publisher's tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Diffusers' name.
    pub name: String,
    /// How many.
    pub rows: usize,
}

/// An entry whose halves are in the same order.
pub(super) const fn same(ours: &'static str, theirs: &'static str) -> Entry {
    Entry { ours, theirs, halves: Halves::Same }
}

/// An entry whose halves are in the other order.
pub(super) const fn swapped(ours: &'static str, theirs: &'static str) -> Entry {
    Entry { ours, theirs, halves: Halves::Swapped }
}

impl Names {
    /// The publisher's tensors behind those of diffusers, by name and without the prefix; `ours` are names and shapes.
    pub fn originals(&self, ours: &BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Original> {
        let mut found = BTreeMap::new();
        for entry in self.top {
            entry.collect("", "", false, ours, &mut found);
        }
        for blocks in self.blocks {
            let numbers = numbers(blocks.ours, ours);
            for number in &numbers {
                let (before, theirs) = (format!("{}.{number}.", blocks.ours), format!("{}.{number}.", blocks.theirs));
                let is_last = numbers.last() == Some(number);
                for entry in blocks.parts {
                    entry.collect(&before, &theirs, is_last, ours, &mut found);
                }
            }
        }
        found
    }
}

impl Entry {
    fn collect(
        &self,
        before: &str,
        before_theirs: &str,
        is_last: bool,
        ours: &BTreeMap<String, Vec<usize>>,
        found: &mut BTreeMap<String, Original>,
    ) {
        for leaf in ["", ".weight", ".bias"] {
            let name = format!("{before}{}{leaf}", self.ours);
            let Some(shape) = ours.get(&name) else { continue };
            let rows = shape.first().copied().unwrap_or(1);
            let swapped = match self.halves {
                Halves::Same => false,
                Halves::Swapped => true,
                Halves::SwappedInLast => is_last,
            };
            let theirs = format!("{before_theirs}{}{leaf}", self.theirs);
            match found.get_mut(&theirs) {
                Some(fused) => {
                    fused.parts.push(Part { name, rows });
                    fused.shape[0] += rows;
                }
                None => {
                    let parts = vec![Part { name, rows }];
                    found.insert(theirs, Original { shape: shape.clone(), parts, swapped });
                }
            }
        }
    }
}

/// The numbers of the blocks of this name.
fn numbers(blocks: &str, ours: &BTreeMap<String, Vec<usize>>) -> BTreeSet<usize> {
    let number = |name: &String| name.strip_prefix(blocks)?.strip_prefix('.')?.split('.').next()?.parse().ok();
    ours.keys().filter_map(number).collect()
}
