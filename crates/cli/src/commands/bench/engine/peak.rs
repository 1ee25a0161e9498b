//! What this machine can multiply: the yardstick for what a model makes use of.

use std::time::{Duration, Instant};

use scumble_engine::kernels::{self, Finish, Plain};
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

/// The fastest product that is known: of the tensor library in float32 and in this type, and on a CPU of our kernels, whichever
/// is faster. What a machine is slow at is not to make a model look good.
pub(super) fn measure(device: &Device, dtype: DType) -> Result<Peak, Failure> {
    let of = |dtype| -> Result<Peak, Failure> {
        Ok(Peak { gflops: product(device, dtype).map_err(RunError::from)?, dtype })
    };
    let mut peaks = vec![of(DType::F32)?];
    if device.is_cpu() {
        peaks.push(Peak { gflops: kernel(), dtype: DType::F32 });
    } else if dtype != DType::F32 {
        peaks.push(of(dtype)?);
    }
    let fastest = peaks.iter().copied().max_by(|a, b| a.gflops.total_cmp(&b.gflops));
    Ok(fastest.unwrap_or(peaks[0]))
}

/// GFLOP/s of the tensor library.
fn product(device: &Device, dtype: DType) -> Result<f64, Error> {
    let [rows, inner, columns] = SHAPE;
    let (a, b) = (Tensor::ones((rows, inner), dtype, device)?, Tensor::ones((inner, columns), dtype, device)?);
    rate(|| {
        a.matmul(&b)?;
        Ok(device.synchronize()?)
    })
}

/// GFLOP/s of our kernel.
fn kernel() -> f64 {
    let [rows, inner, columns] = SHAPE;
    let (x, w, mut y) = (vec![1f32; rows * inner], vec![1f32; inner * columns], vec![0f32; rows * columns]);
    let timed = rate(|| {
        kernels::product(&x, &Plain::new(&w, inner), &Finish::default(), &mut y);
        Ok(())
    });
    timed.unwrap_or(0.0)
}

/// Of the fastest of several products: what disturbs one is not the machine's limit.
fn rate(mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut once = || -> Result<Duration, Error> {
        let began = Instant::now();
        run()?;
        Ok(began.elapsed())
    };
    once()?;
    let (mut fastest, mut spent, mut times) = (Duration::MAX, Duration::ZERO, 0);
    while times < TIMES || spent < LONG_ENOUGH {
        let took = once()?;
        (fastest, spent, times) = (fastest.min(took), spent + took, times + 1);
    }
    let [rows, inner, columns] = SHAPE;
    Ok(2.0 * (rows * inner * columns) as f64 / fastest.as_secs_f64() / 1e9)
}
