//! What this machine can multiply: the yardstick for what a model makes use of.

use std::time::{Duration, Instant};

use scumble_engine::{DType, Device, Error, Tensor};
use scumble_worker::runner::RunError;

use crate::failure::Failure;

/// Rows, inner and columns of a product as large models have it.
const SHAPE: [usize; 3] = [1024, 3072, 3072];
/// How often it is taken, at the least, and for how long if that is quick.
const TIMES: usize = 5;
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// The fastest product of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    /// Billions of multiplications and additions in a second.
    pub(super) gflops: f64,
    /// The number type that it was taken in.
    pub(super) dtype: DType,
}

/// The faster one of products in float32 and in this type: a type that a machine has no instructions for is not to make a
/// model look good.
pub(super) fn measure(device: &Device, dtype: DType) -> Result<Peak, Failure> {
    let peak = |dtype| -> Result<Peak, Failure> {
        Ok(Peak { gflops: product(device, dtype).map_err(RunError::from)?, dtype })
    };
    let wide = peak(DType::F32)?;
    let own = if dtype == DType::F32 { wide } else { peak(dtype)? };
    Ok(if own.gflops > wide.gflops { own } else { wide })
}

/// GFLOP/s of the fastest of several products: what disturbs one is not the machine's limit.
fn product(device: &Device, dtype: DType) -> Result<f64, Error> {
    let [rows, inner, columns] = SHAPE;
    let (a, b) = (Tensor::ones((rows, inner), dtype, device)?, Tensor::ones((inner, columns), dtype, device)?);
    let once = || -> Result<Duration, Error> {
        let began = Instant::now();
        a.matmul(&b)?;
        device.synchronize()?;
        Ok(began.elapsed())
    };
    once()?;
    let (mut fastest, mut spent, mut times) = (Duration::MAX, Duration::ZERO, 0);
    while times < TIMES || spent < LONG_ENOUGH {
        let took = once()?;
        (fastest, spent, times) = (fastest.min(took), spent + took, times + 1);
    }
    Ok(2.0 * (rows * inner * columns) as f64 / fastest.as_secs_f64() / 1e9)
}
