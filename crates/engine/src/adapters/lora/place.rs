//! From what a file says of a module to changes of the model's tensors: cut where the model has several tensors for one
//! of the file's, halves exchanged where they are in the other order.

use candle_core::{DType, Tensor};

use super::file::File;
use super::keys::short;
use super::lookup::Target;
use super::module::{Module, Said};
use crate::error::Result;
use crate::weights::{Change, Delta, Magnitude, Overlay, Weights};

/// Keeps lengths of empty rows from dividing by nothing.
const SHORTEST: f64 = 1e-12;

/// Lays down what a file says of a module, `scale` times.
pub(super) fn place(
    said: Said,
    module: &Module<'_>,
    scale: f64,
    file: &File,
    weights: &Weights,
    overlay: &mut Overlay,
) -> Result<()> {
    let target = &module.target;
    let Said { delta, bias, diff, magnitude } = said;
    match (delta, magnitude) {
        (Some(delta), Some(magnitude)) => bring(&delta, &magnitude, target, scale, weights, overlay)?,
        (Some(delta), None) => add(&delta.scaled(scale)?, target, weights, overlay)?,
        (None, _) => {}
    }
    if let Some(diff) = diff {
        add(&diff.scaled(scale)?, target, weights, overlay)?;
    }
    for bias in bias {
        let bias = bias.scaled(scale)?;
        for (piece, rows) in target.cuts() {
            let Some(name) = &piece.bias else {
                let module = short(module.stem);
                return Err(file.refuse(format!("{module} has a change of its bias; this model has no bias there")));
            };
            overlay.add(name.clone(), Change { delta: bias.rows(&rows)?, magnitude: None });
        }
    }
    Ok(())
}

/// What is added to the weight.
fn add(delta: &Delta, target: &Target, weights: &Weights, overlay: &mut Overlay) -> Result<()> {
    for (piece, delta) in pieces(delta, target, weights)? {
        overlay.add(piece.to_owned(), Change { delta, magnitude: None });
    }
    Ok(())
}

/// The change of each of the model's tensors. Small ones are moved to where they will be used before they are cut, so that
/// the pieces share what they have in common.
fn pieces<'a>(delta: &Delta, target: &'a Target, weights: &Weights) -> Result<Vec<(&'a str, Delta)>> {
    let base = target.pieces.first().and_then(|piece| weights.stored(&piece.weight));
    let delta = match base {
        Some(base) if delta.is_small() => delta.to(base.dtype(), base.device())?,
        _ => delta.clone(),
    };
    target.cuts().into_iter().map(|(piece, rows)| Ok((piece.weight.as_str(), delta.rows(&rows)?))).collect()
}

/// DoRA: rows or columns of W + Δ are brought to the lengths that the file has. Columns run through all pieces.
fn bring(
    delta: &Delta,
    magnitude: &Tensor,
    target: &Target,
    scale: f64,
    weights: &Weights,
    overlay: &mut Overlay,
) -> Result<()> {
    let of_rows = magnitude.dims() == [target.rows(), 1];
    let mut squares: Vec<Tensor> = Vec::new();
    let mut changes = Vec::new();
    for (piece, rows) in target.cuts() {
        // every tensor that a graph was built from is held
        let Some(base) = weights.stored(&piece.weight) else { continue };
        let delta = delta.rows(&rows)?;
        let flat = base.whole()?.to_dtype(DType::F32)?.reshape((piece.rows, target.columns))?;
        let sum = (&flat + delta.to(DType::F32, base.device())?.whole()?)?.sqr()?;
        squares.push(sum.sum_keepdim(if of_rows { 1 } else { 0 })?);
        let wanted = if of_rows { Delta::Whole(magnitude.clone()).rows(&rows)?.whole()? } else { magnitude.clone() };
        changes.push((piece.weight.clone(), delta, wanted));
    }
    if !of_rows && let Some((first, others)) = squares.split_first() {
        let total = others.iter().try_fold(first.clone(), |sum, next| sum + next)?;
        squares.iter_mut().for_each(|own| *own = total.clone());
    }
    for ((name, delta, wanted), squares) in changes.into_iter().zip(squares) {
        let gain = (wanted.to_device(squares.device())? / squares.sqrt()?.maximum(SHORTEST)?)?;
        overlay.add(name, Change { delta, magnitude: Some(Magnitude { gain, scale }) });
    }
    Ok(())
}
