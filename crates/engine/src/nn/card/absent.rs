//! What a build without CUDA has in place of kernels for cards: nothing, so that plain forms run.

use candle_core::Tensor;
use scumble_kernels::ConvKind;

use super::super::then::Then;
use crate::error::Result;

pub(in crate::nn) fn layer_norm(
    _: &Tensor,
    _: (Option<&Tensor>, i32),
    _: Option<&Tensor>,
    _: f64,
) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(in crate::nn) fn rms_norm(_: &Tensor, _: Option<&Tensor>, _: f64) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(in crate::nn) fn group_norm(
    _: &Tensor,
    _: (&Tensor, &Tensor),
    _: usize,
    _: f64,
    _: bool,
) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(in crate::nn) fn finished(_: &Tensor, _: Option<&Tensor>, _: Then<'_>) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(in crate::nn) fn normed_and_turned(
    _: &Tensor,
    _: Option<(&Tensor, f64)>,
    _: Option<(&Tensor, &Tensor)>,
) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(in crate::nn) fn attended(
    _: &Tensor,
    _: &Tensor,
    _: &Tensor,
    _: f64,
    _: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    Ok(None)
}

pub(in crate::nn) fn convolved(
    _: &Tensor,
    _: (&Tensor, &Tensor),
    _: ConvKind,
    _: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    Ok(None)
}
