//! The scales of fp8 tensors, in every spelling that files have.
//!
//! A scale is never left out: what looks like one and is not understood is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use super::container::Container;
use super::encoding::Encoding;
use crate::error::Result;

/// Ends of names of scales, and of what was measured of activations, which products in fp8 need and decoding does not.
const WEIGHT: [&str; 2] = [".scale_weight", ".weight_scale"];
const INPUT: [&str; 2] = [".scale_input", ".input_scale"];
/// The end of the name of a tensor whose bytes are JSON about a layer.
const ABOUT: &str = ".comfy_quant";
/// Its name after the prefix of a component, whose type says which fp8 is meant.
const MARKER: &str = "scaled_fp8";
/// The note that is JSON about all layers.
const NOTE: &str = "_quantization_metadata";

/// Ends of names of tables that text encoders look words, places and distances up in.
const TABLES: [&str; 5] = [
    "shared.weight",
    "embed_tokens.weight",
    "token_embedding.weight",
    "position_embedding.weight",
    "relative_attention_bias.weight",
];

/// Scales of the tensors below a prefix.
#[derive(Default)]
pub(super) struct Scales {
    /// By the name of the scaled tensor.
    pub(super) of: BTreeMap<String, Scale>,
    /// Names of tensors that have served.
    pub(super) helpers: BTreeSet<String>,
}

/// What a tensor is multiplied with.
#[derive(Clone, Debug)]
pub(super) enum Scale {
    Whole(f32),
    /// One factor for each row.
    Rows(Vec<f32>),
}

impl Scale {
    /// Multiplies numbers, which are those of these rows.
    pub(super) fn apply(&self, numbers: &mut [f32], rows: Range<usize>, columns: usize) {
        match self {
            Self::Whole(factor) => numbers.iter_mut().for_each(|number| *number *= factor),
            Self::Rows(factors) => {
                let factors = factors.get(rows).unwrap_or_default();
                let scaled = numbers.chunks_exact_mut(columns.max(1)).zip(factors);
                scaled.for_each(|(row, factor)| row.iter_mut().for_each(|number| *number *= factor));
            }
        }
    }

    /// Those of some rows.
    pub(super) fn of_rows(&self, rows: Range<usize>) -> Self {
        match self {
            Self::Whole(factor) => Self::Whole(*factor),
            Self::Rows(factors) => Self::Rows(factors.get(rows).unwrap_or_default().to_vec()),
        }
    }
}

/// Reads the scales of the tensors below a prefix.
///
/// # Errors
/// [`crate::Error::Damaged`] for scales that fit nothing, and for quantised layers of other kinds.
pub(super) fn read(file: &Container, prefix: &str) -> Result<Scales> {
    let mut scales = Scales::default();
    let below: Vec<&str> = file.names().filter(|name| name.starts_with(prefix)).collect();
    for name in &below {
        if let Some(layer) = WEIGHT.iter().find_map(|end| name.strip_suffix(end)) {
            let weight = scaled(file, layer, name)?;
            let scale = scale(file, name, &weight)?;
            if scales.of.insert(weight, scale).is_some() {
                return Err(file.damaged(format!("layer {layer} has two scales, scale_weight and weight_scale")));
            }
            scales.helpers.insert((*name).to_owned());
        } else if let Some(layer) = INPUT.iter().find_map(|end| name.strip_suffix(end)) {
            scaled(file, layer, name)?;
            scales.helpers.insert((*name).to_owned());
        } else if name.ends_with(ABOUT) {
            scales.helpers.insert((*name).to_owned());
        }
    }
    for name in &below {
        if let Some(layer) = name.strip_suffix(ABOUT) {
            let said = file.small(name).and_then(|bytes| serde_json::from_slice(&bytes).ok());
            check(file, &scales, layer, said.as_ref().unwrap_or(&Value::Null), name)?;
        }
    }
    if let Some(note) = file.note(NOTE) {
        let said: Value = serde_json::from_str(note).map_err(|e| file.damaged(format!("{NOTE} is not JSON: {e}")))?;
        let layers = said.get("layers").and_then(Value::as_object);
        let layers = layers.ok_or_else(|| file.damaged(format!("{NOTE} has no layers")))?;
        for (layer, said) in layers.iter().filter(|(layer, _)| layer.starts_with(prefix)) {
            check(file, &scales, layer, said, NOTE)?;
        }
    }
    let marker = format!("{prefix}{MARKER}");
    let is_marked = file.has(&marker);
    if is_marked {
        scales.helpers.insert(marker);
    }
    if is_marked || !scales.of.is_empty() {
        none_left_out(file, &scales, &below)?;
    }
    Ok(scales)
}

/// The weight of a layer that a scale belongs to.
fn scaled(file: &Container, layer: &str, name: &str) -> Result<String> {
    let weight = format!("{layer}.weight");
    match file.get(&weight).map(|entry| &entry.encoding) {
        Some(Encoding::Plain(_) | Encoding::F8E4M3 | Encoding::F8E5M2) => Ok(weight),
        Some(other) => Err(file.damaged(format!("{name} scales {weight}, whose type is {other}; expected fp8"))),
        None => Err(file.damaged(format!("{name} scales {weight}, which is missing"))),
    }
}

fn scale(file: &Container, name: &str, weight: &str) -> Result<Scale> {
    let (Some(entry), Some(scaled)) = (file.get(name), file.get(weight)) else {
        return Err(file.damaged(format!("{name} is missing")));
    };
    let rows = scaled.shape.first().copied().unwrap_or(1);
    let is_row = entry.shape == [rows, 1] || entry.shape == [rows];
    if !matches!(entry.encoding, Encoding::Plain(_)) || !(entry.count() == 1 || is_row) {
        return Err(file.damaged(format!(
            "{name} has the type {} and the shape {:?}; expected float32 and one number, or one for each of {rows} rows",
            entry.encoding, entry.shape
        )));
    }
    let values = entry.encoding.decode(&file.bytes(entry, 0..entry.length())?);
    if !values.iter().all(|value| value.is_finite()) {
        return Err(file.damaged(format!("{name} is not a finite number")));
    }
    Ok(match values[..] {
        [one] => Scale::Whole(one),
        _ => Scale::Rows(values),
    })
}

/// Makes sure that a layer is what is said of it.
fn check(file: &Container, scales: &Scales, layer: &str, said: &Value, place: &str) -> Result<()> {
    let format = said.get("format").and_then(Value::as_str).unwrap_or("nothing");
    let expected = match format {
        "float8_e4m3fn" => Encoding::F8E4M3,
        "float8_e5m2" => Encoding::F8E5M2,
        _ => {
            return Err(file.damaged(format!(
                "{place} says that {layer} has the format {format}; expected float8_e4m3fn or float8_e5m2"
            )));
        }
    };
    let weight = format!("{layer}.weight");
    let found = file.get(&weight).map(|entry| &entry.encoding);
    if found != Some(&expected) {
        let found = found.map_or_else(|| "missing".to_owned(), ToString::to_string);
        return Err(file.damaged(format!("{place} says that {weight} is {expected}, and it is {found}")));
    }
    if !scales.of.contains_key(&weight) {
        return Err(file.damaged(format!("{weight} has no scale; expected {layer}.weight_scale")));
    }
    Ok(())
}

/// Where some matrices in fp8 have scales, those without one are not to be trusted. Tables of words are looked up, not
/// multiplied, and never have one.
fn none_left_out(file: &Container, scales: &Scales, below: &[&str]) -> Result<()> {
    let is_table = |name: &str| TABLES.iter().any(|end| name.ends_with(end));
    let bare = below.iter().find(|name| {
        let is_f8 = file.get(name).is_some_and(|entry| entry.encoding.is_f8() && entry.shape.len() >= 2);
        is_f8 && !scales.of.contains_key(**name) && !is_table(name)
    });
    match bare {
        Some(name) => {
            let layer = name.strip_suffix(".weight").unwrap_or(name);
            Err(file.damaged(format!(
                "{name} is fp8 without a scale in a file of scaled fp8; expected {layer}.scale_weight or \
                 {layer}.weight_scale"
            )))
        }
        None => Ok(()),
    }
}
