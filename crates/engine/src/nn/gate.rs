//! Gated residuals.

use candle_core::Tensor;

use crate::error::Result;

/// x + gate · y for `x` and `y` of `[batch, tokens, width]` and a gate of `[batch, width]`.
///
/// # Errors
/// Shapes that do not fit.
pub fn gated(x: &Tensor, gate: &Tensor, y: &Tensor) -> Result<Tensor> {
    Ok((x + y.broadcast_mul(&gate.unsqueeze(1)?)?)?)
}
