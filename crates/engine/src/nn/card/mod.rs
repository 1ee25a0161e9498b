//! Operations by kernels for NVIDIA's cards, in bfloat16: what takes a dozen operations of the plain form, and as many ways
//! through the card's memory, is one here.
//!
//! Each gives nothing where it does not take what it got, and then the plain form runs: on other devices, in other types, with
//! heads of other widths, and in builds without CUDA. Sums are float32 within a kernel; a result is rounded once, where the plain
//! form rounds after each of its operations.
//!
//! Compiled, and executed on a CPU by an emulation; not run on hardware.

#[cfg(not(feature = "cuda"))]
mod absent;
#[cfg(feature = "cuda")]
mod attend;
#[cfg(feature = "cuda")]
mod heads;
#[cfg(any(feature = "cuda", test))]
mod kernels;
#[cfg(feature = "cuda")]
mod launch;
#[cfg(feature = "cuda")]
mod pictures;
#[cfg(feature = "cuda")]
mod rows;
#[cfg(feature = "cuda")]
mod trust;

#[cfg(not(feature = "cuda"))]
pub(super) use absent::{attended, convolved, finished, group_norm, layer_norm, normed_and_turned, rms_norm};
#[cfg(feature = "cuda")]
pub(super) use attend::attended;
#[cfg(feature = "cuda")]
pub(super) use heads::normed_and_turned;
#[cfg(feature = "cuda")]
pub(super) use pictures::{convolved, group_norm};
#[cfg(feature = "cuda")]
pub(super) use rows::{finished, layer_norm, rms_norm};
#[cfg(feature = "cuda")]
pub(crate) use trust::tried;

/// Whether a tensor is one for kernels.
#[cfg(feature = "cuda")]
fn takes(x: &candle_core::Tensor) -> bool {
    let is_trusted = |card: &candle_core::CudaDevice| trust::is_trusted(card.cuda_stream().context().ordinal());
    x.dtype() == candle_core::DType::BF16 && x.device().as_cuda_device().is_ok_and(is_trusted)
}
