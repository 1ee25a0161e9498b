//! The bridge from candle tensors to slices.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Storage, Tensor};
use parking_lot::RwLockReadGuard;

use crate::error::Error;

/// Whether kernels can take this tensor; elsewhere the plain form runs.
pub(super) fn runs_here(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::BF16 | DType::F16)
}

/// The numbers of a tensor in float32, in order, while it is borrowed.
pub(super) struct Numbers<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    /// Of a float32 tensor on the CPU whose numbers lie in order.
    pub(super) fn of(x: &'a Tensor) -> candle_core::Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("kernels take contiguous tensors")
        };
        if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(values)) if values.len() >= end) {
            candle_core::bail!("kernels take float32 on the CPU")
        }
        Ok(Self { storage, range: start..end })
    }

    /// From the first number of a float32 tensor on the CPU to the end of its storage, with strides as they are.
    pub(super) fn strided(x: &'a Tensor) -> candle_core::Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
            candle_core::bail!("kernels take float32 on the CPU")
        };
        let range = layout.start_offset()..values.len();
        Ok(Self { storage, range })
    }
}

impl Deref for Numbers<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            // refused when this was made
            _ => &[],
        }
    }
}

/// A tensor as float32, its numbers in order.
pub(super) fn in_order(x: &Tensor) -> candle_core::Result<Tensor> {
    x.to_dtype(DType::F32)?.contiguous()
}

/// Shapes that do not fit, as candle's own operations say it.
pub(super) fn unfit(reason: String) -> Error {
    candle_core::Error::Msg(reason).into()
}

/// Applies a kernel that reads rows, the last dimension, and writes as many. The kernel is told how many neighbouring rows
/// belong to one token: heads may lie side by side in memory or one after the other, and stay as they are.
pub(super) fn each_row(x: &Tensor, run: impl FnOnce(&[f32], usize, &mut [f32])) -> candle_core::Result<Tensor> {
    let dtype = x.dtype();
    let (dense, heads) = match x.rank() {
        4 if !x.is_contiguous() && x.transpose(1, 2)?.is_contiguous() => (x.transpose(1, 2)?, x.dim(1)?),
        _ => (x.clone(), 1),
    };
    let dense = in_order(&dense)?;
    let mut output = scumble_kernels::zeros(dense.elem_count());
    run(&Numbers::of(&dense)?, heads, &mut output);
    let y = Tensor::from_vec(output, dense.shape(), dense.device())?.to_dtype(dtype)?;
    if heads == 1 { Ok(y) } else { y.transpose(1, 2) }
}

/// A small tensor's numbers, for tests.
#[cfg(test)]
pub(super) fn numbers(x: &Tensor) -> candle_core::Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
