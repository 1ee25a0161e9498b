//! The bridge from candle tensors to slices.

use candle_core::{CpuStorage, CustomOp1, DType, InplaceOp1, Layout, Shape, Tensor};
use scumble_kernels::Element;

/// A kernel that reads one run of numbers and writes another of the same length.
pub(super) trait Map: Send + Sync {
    /// Name in candle's errors.
    const NAME: &'static str;
    fn run<T: Element>(&self, input: &[T], output: &mut [T]);
}

/// Whether kernels can take this tensor; elsewhere the plain form runs.
pub(super) fn runs_here(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::BF16 | DType::F16)
}

/// Applies a kernel to the contiguous form of a tensor.
pub(super) fn map<K: Map>(x: &Tensor, kernel: K) -> candle_core::Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&Mapped(kernel))
}

/// A small tensor's numbers, for weights that kernels take as float32.
pub(super) fn numbers(x: &Tensor) -> candle_core::Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

struct Mapped<K>(K);

impl<K: Map> CustomOp1 for Mapped<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        fn run<K: Map, T: Element>(kernel: &K, values: &[T], layout: &Layout) -> candle_core::Result<Vec<T>> {
            let (start, end) = contiguous::<K>(layout)?;
            let mut output = vec![T::default(); end - start];
            kernel.run(&values[start..end], &mut output);
            Ok(output)
        }
        let out = match storage {
            CpuStorage::F32(v) => CpuStorage::F32(run(&self.0, v, layout)?),
            CpuStorage::BF16(v) => CpuStorage::BF16(run(&self.0, v, layout)?),
            CpuStorage::F16(v) => CpuStorage::F16(run(&self.0, v, layout)?),
            _ => candle_core::bail!("{} takes floats", K::NAME),
        };
        Ok((out, layout.shape().clone()))
    }
}

fn contiguous<K: Map>(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    match layout.contiguous_offsets() {
        Some(range) => Ok(range),
        None => candle_core::bail!("{} takes contiguous tensors", K::NAME),
    }
}

/// Softmax of every row in place: attention scores are large and needed once.
pub(super) struct SoftmaxInPlace {
    pub(super) scale: f32,
}

impl InplaceOp1 for SoftmaxInPlace {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("softmax takes contiguous float32");
        };
        let row = layout.dims().last().copied().unwrap_or(1);
        scumble_kernels::softmax_rows(&mut values[start..end], row, self.scale);
        Ok(())
    }
}
