//! Gated residuals.

use candle_core::Tensor;
use scumble_kernels::{Finish, Residual};

use super::card;
use super::kernel::{Numbers, in_order, runs_here, unfit};
use super::then::Then;
use crate::error::Result;

/// x + gate · y for `x` and `y` of `[batch, tokens, width]` and a gate of `[batch, width]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn gated(x: &Tensor, gate: &Tensor, y: &Tensor) -> Result<Tensor> {
    if !runs_here(x) || x.dims() != y.dims() {
        let then = Then { onto: Some((x, Some(gate))), ..Then::default() };
        return card::finished(y, None, then)?.map_or_else(|| plain_gated(x, gate, y), Ok);
    }
    let (dense, onto, gate) = (in_order(y)?, in_order(x)?, in_order(gate)?);
    let width = onto.dims().last().copied().unwrap_or(1);
    let mut sums = Numbers::of(&dense)?.to_vec();
    let (onto, gate) = (Numbers::of(&onto)?, Numbers::of(&gate)?);
    gate_fits(sums.len() / width.max(1), width, gate.len())?;
    let residual = Some(Residual { onto: &onto, gate: Some(&gate) });
    scumble_kernels::finish(&mut sums, width, &Finish { residual, ..Finish::default() });
    Ok(Tensor::from_vec(sums, x.dims(), x.device())?.to_dtype(x.dtype())?)
}

/// The plain form.
pub(super) fn plain_gated(x: &Tensor, gate: &Tensor, y: &Tensor) -> Result<Tensor> {
    Ok((x + y.broadcast_mul(&gate.unsqueeze(1)?)?)?)
}

/// Whether a gate of so many numbers serves so many rows of this width.
pub(super) fn gate_fits(rows: usize, width: usize, gate: usize) -> Result<()> {
    let batch = gate / width.max(1);
    if batch == 0 || !gate.is_multiple_of(width.max(1)) || !rows.is_multiple_of(batch) {
        let reason = format!("a gate of {gate} numbers does not fit {rows} rows of {width}");
        return Err(unfit(reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Generator;

    #[test]
    fn the_kernel_agrees_with_the_plain_form() -> Result<()> {
        let mut g = Generator::new(3);
        let (x, y, gate) = (g.noise(&[2, 5, 8])?, g.noise(&[2, 5, 8])?, g.noise(&[2, 8])?);
        let far = (gated(&x, &gate, &y)? - plain_gated(&x, &gate, &y)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(far < 1e-6, "{far}");
        assert!(gated(&x, &g.noise(&[3, 8])?, &y).is_err());
        Ok(())
    }
}
