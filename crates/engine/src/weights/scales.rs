//! The scales of fp8 tensors, in every spelling that files have.
//!
//! A scale is never left out: what looks like one and is not understood is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use candle_core::DType;
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
/// What notes may say of a layer: its type, and which products its writer wants, which decoding does not need. All else may
/// change what the numbers mean.
const SAID_OF_LAYERS: [&str; 2] = [FORMAT, "full_precision_matrix_mult"];
const FORMAT: &str = "format";
/// What the note about all layers may say beside them.
const SAID_OF_ALL: [&str; 2] = [VERSION, LAYERS];
const VERSION: &str = "format_version";
const LAYERS: &str = "layers";

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

    /// Multiplies numbers of one row.
    pub(super) fn apply_to_row(&self, numbers: &mut [f32], row: usize) {
        let factor = match self {
            Self::Whole(factor) => Some(factor),
            Self::Rows(factors) => factors.get(row),
        };
        if let Some(factor) = factor {
            numbers.iter_mut().for_each(|number| *number *= factor);
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

/// Reads the scales of the tensors below a prefix, and holds whatever the file says of them against what it has.
///
/// # Errors
/// [`crate::Error::Damaged`] for scales that fit nothing, for notes that say something else than the tensors, and for quantised
/// layers of other kinds.
pub(super) fn read(file: &Container, prefix: &str) -> Result<Scales> {
    let below: Vec<&str> = file.names().filter(|name| name.starts_with(prefix)).collect();
    let mut scales = found(file, &below)?;
    for name in &below {
        if let Some(layer) = name.strip_suffix(ABOUT) {
            let bytes =
                file.small(name).ok_or_else(|| file.damaged(format!("{name} cannot be read: it is too long")))?;
            let said = serde_json::from_slice(&bytes);
            let said: Value =
                said.map_err(|e| file.damaged(format!("{name} is not JSON, as notes of layers are: {e}")))?;
            check(file, &scales, layer, &said, name)?;
        }
    }
    noted(file, &scales, prefix)?;
    let markers = markers(file, prefix);
    for marker in &markers {
        marked(file, &scales, marker, &below)?;
    }
    if !markers.is_empty() || !scales.of.is_empty() {
        none_left_out(file, &scales, &below)?;
    }
    scales.helpers.extend(markers);
    Ok(scales)
}

/// Every scale, with the matrix that it belongs to.
fn found(file: &Container, below: &[&str]) -> Result<Scales> {
    let mut scales = Scales::default();
    for name in below {
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
    Ok(scales)
}

/// Holds the note about all layers against those below a prefix; of others only that they are there.
fn noted(file: &Container, scales: &Scales, prefix: &str) -> Result<()> {
    let Some(note) = file.note(NOTE) else { return Ok(()) };
    let said: Value = serde_json::from_str(note).map_err(|e| file.damaged(format!("{NOTE} is not JSON: {e}")))?;
    known_only(file, &said, &SAID_OF_ALL, NOTE)?;
    if let Some(version) = said.get(VERSION).filter(|version| **version != "1.0") {
        return Err(file.damaged(format!("{NOTE} has the {VERSION} {version}; expected \"1.0\"")));
    }
    let layers = said.get(LAYERS).and_then(Value::as_object);
    for (layer, said) in layers.ok_or_else(|| file.damaged(format!("{NOTE} has no {LAYERS}")))? {
        // a layer of no component is one whose scale nobody would look for
        if layer.starts_with(prefix) || !file.has(&format!("{layer}.weight")) {
            check(file, scales, layer, said, NOTE)?;
        }
    }
    Ok(())
}

/// What marks a component as scaled fp8: under its own prefix, or under one that its prefix begins with.
fn markers(file: &Container, prefix: &str) -> Vec<String> {
    let is_about = |name: &&str| name.strip_suffix(MARKER).is_some_and(|before| prefix.starts_with(before));
    file.names().filter(is_about).map(str::to_owned).collect()
}

/// Makes sure that a component is what its marker says: has scales, and fp8 of that kind only.
fn marked(file: &Container, scales: &Scales, marker: &str, below: &[&str]) -> Result<()> {
    let kind = file.get(marker).map(|entry| entry.encoding.clone());
    let expected = match kind {
        Some(Encoding::F8E4M3 | Encoding::Plain(DType::F32)) => Encoding::F8E4M3,
        Some(Encoding::F8E5M2) => Encoding::F8E5M2,
        other => {
            let found = other.map_or_else(|| "missing".to_owned(), |kind| kind.to_string());
            let (e4m3, e5m2) = (Encoding::F8E4M3, Encoding::F8E5M2);
            return Err(file.damaged(format!(
                "{marker} has the type {found}, which says the type of the matrices; expected {e4m3} or {e5m2}"
            )));
        }
    };
    let other = below.iter().find_map(|name| {
        let found = &file.get(name).filter(|_| *name != marker)?.encoding;
        (found.is_f8() && *found != expected).then_some((name, found))
    });
    if let Some((name, found)) = other {
        return Err(file.damaged(format!("{marker} says that {name} is {expected}, and it is {found}")));
    }
    if scales.of.is_empty() {
        return Err(file.damaged(format!(
            "{marker} says that matrices are scaled fp8, and none has a scale; expected LAYER.scale_weight or \
             LAYER.weight_scale"
        )));
    }
    Ok(())
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

/// Makes sure that a note has these entries and no others.
fn known_only(file: &Container, said: &Value, known: &[&str], place: &str) -> Result<()> {
    let entries = said.as_object().ok_or_else(|| file.damaged(format!("{place} is {said}; expected a JSON object")))?;
    match entries.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        Some((key, value)) => Err(file.damaged(format!(
            "{place} has an entry that is not understood, {key}: {value}; expected {}",
            known.join(" and ")
        ))),
        None => Ok(()),
    }
}

/// Makes sure that a layer is what is said of it.
fn check(file: &Container, scales: &Scales, layer: &str, said: &Value, place: &str) -> Result<()> {
    let format = said.get(FORMAT).and_then(Value::as_str).unwrap_or("nothing");
    let expected = match format {
        "float8_e4m3fn" => Encoding::F8E4M3,
        "float8_e5m2" => Encoding::F8E5M2,
        _ => {
            return Err(file.damaged(format!(
                "{place} says that {layer} has the format {format}; expected float8_e4m3fn or float8_e5m2"
            )));
        }
    };
    let of_layer = if place == NOTE { format!("{NOTE} of {layer}") } else { place.to_owned() };
    known_only(file, said, &SAID_OF_LAYERS, &of_layer)?;
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
