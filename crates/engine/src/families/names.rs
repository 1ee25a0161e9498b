//! What publishers call the tensors of their own files: diffusers cuts fused matrices, renames and reorders.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::weights::{Order, Piece};

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

    /// The tensors of diffusers behind those of a publisher's file, by name; `theirs` are names and shapes below a prefix. What
    /// nobody knows keeps its name.
    ///
    /// In a fused matrix every part but the last has as many rows as the matrix has columns, and the last has the rest.
    ///
    /// # Errors
    /// A fused tensor that cannot be cut so, in words.
    pub(crate) fn pieces(
        &self,
        prefix: &str,
        theirs: &BTreeMap<&str, &[usize]>,
    ) -> Result<BTreeMap<String, Piece>, String> {
        let last: Vec<Option<usize>> = self.blocks.iter().map(|blocks| blocks.last(theirs)).collect();
        let mut found = BTreeMap::new();
        for (name, shape) in theirs {
            let Some(Found { entries, before, leaf, is_last }) = self.find(name, &last) else {
                let piece = Piece { stored: format!("{prefix}{name}"), rows: None, order: Order::Same };
                found.insert((*name).to_owned(), piece);
                continue;
            };
            let cuts = cuts(entries.len(), name, shape, theirs)
                .ok_or_else(|| format!("tensor {prefix}{name} of shape {shape:?} is not made of its usual parts"))?;
            for (entry, rows) in entries.iter().zip(cuts) {
                let order = if entry.is_swapped(is_last) { Order::Swapped } else { Order::Same };
                let piece = Piece { stored: format!("{prefix}{name}"), rows, order };
                found.insert(format!("{before}{}{leaf}", entry.ours), piece);
            }
        }
        Ok(found)
    }

    /// What a publisher's tensor holds.
    fn find<'a>(&self, name: &'a str, last: &[Option<usize>]) -> Option<Found<'a>> {
        let (before, entries, rest, is_last) =
            match self.blocks.iter().zip(last).find_map(|(b, l)| Some((b, l, b.cut(name)?))) {
                Some((blocks, last, (number, rest))) => {
                    (format!("{}.{number}.", blocks.ours), blocks.parts, rest, Some(number) == *last)
                }
                None => (String::new(), self.top, name, false),
            };
        let (module, leaf) = rest.rfind('.').map_or((rest, ""), |dot| rest.split_at(dot));
        [(rest, ""), (module, leaf)].into_iter().find_map(|(module, leaf)| {
            let entries: Vec<&'static Entry> = entries.iter().filter(|entry| entry.theirs == module).collect();
            (!entries.is_empty()).then(|| Found { entries, before: before.clone(), leaf, is_last })
        })
    }
}

/// What a publisher's tensor holds.
struct Found<'a> {
    /// Its parts, in the order of their rows.
    entries: Vec<&'static Entry>,
    /// Before the names of diffusers.
    before: String,
    /// `.weight`, `.bias` or nothing.
    leaf: &'a str,
    is_last: bool,
}

impl Blocks {
    /// The number of the block that a publisher's tensor belongs to, and what it is called in there.
    fn cut<'a>(&self, name: &'a str) -> Option<(usize, &'a str)> {
        let (number, rest) = name.strip_prefix(self.theirs)?.strip_prefix('.')?.split_once('.')?;
        Some((number.parse().ok()?, rest))
    }

    /// The last block of a file.
    fn last(&self, theirs: &BTreeMap<&str, &[usize]>) -> Option<usize> {
        theirs.keys().filter_map(|name| Some(self.cut(name)?.0)).max()
    }
}

/// The rows of each of so many parts of a tensor; of the only one, nothing.
fn cuts(
    parts: usize,
    name: &str,
    shape: &[usize],
    theirs: &BTreeMap<&str, &[usize]>,
) -> Option<Vec<Option<Range<usize>>>> {
    if parts == 1 {
        return Some(vec![None]);
    }
    let columns = match name.strip_suffix(".bias") {
        Some(module) => *theirs.get(&*format!("{module}.weight"))?.get(1)?,
        None => *shape.get(1)?,
    };
    let rows = *shape.first()?;
    let rest = (parts - 1).checked_mul(columns).filter(|before| *before < rows)?;
    let ends = (1..parts).map(|part| part * columns).chain([rows]);
    let starts = (0..parts - 1).map(|part| part * columns).chain([rest]);
    Some(starts.zip(ends).map(|(start, end)| Some(start..end)).collect())
}

impl Entry {
    /// Whether its halves are in the other order, in the last block or another.
    fn is_swapped(&self, is_last: bool) -> bool {
        match self.halves {
            Halves::Same => false,
            Halves::Swapped => true,
            Halves::SwappedInLast => is_last,
        }
    }

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
            let swapped = self.is_swapped(is_last);
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
