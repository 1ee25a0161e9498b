//! CPU kernels for the operations where a tensor library's general code loses: transcendental activations, softmax,
//! normalisations, rotations, convolutions.
//!
//! Safe functions over slices; nothing of diffusion and no tensor type in here. Every kernel is plain Rust that the
//! compiler vectorises; `multiversion!` compiles it for AVX-512 and AVX2 too and picks at run
//! time, or, where registers are planned by hand, it is written over vectors of one instruction set ([`Level`]). Sums have
//! a fixed shape that no number of threads changes, so a machine repeats itself bit for bit; another machine may round
//! differently. Each kernel is within a stated distance of a float64 oracle.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over indices of arrays become vectors; the calls that iterators make are not always inlined"
)]

mod activation;
mod attention;
mod conv;
mod decode;
mod level;
mod math;
mod multiversion;
mod norm;
mod product;
mod rotate;
mod scratch;
mod shared;
mod simd;
mod zeros;

pub use activation::{Activation, activate};
pub use attention::{Attention, Bias, Heads};
pub use conv::{Conv, ConvKind};
pub use decode::{from_bfloat16, from_e4m3, from_e5m2, from_float16, from_float32, to_bfloat16};
pub use level::{Level, at_most, level};
pub use norm::{GroupNorm, group_norm, layer_norm, rms_norm};
pub use product::{
    Finish, GROUP, Group, GroupRows, Plain, Residual, Rows, finish, group_product, half_product, halves_pay, product,
};
pub use rotate::rotate_pairs;
pub use zeros::zeros;

/// Work below this many elements is not worth handing to another thread.
const GRAIN: usize = 1 << 14;

/// How many rows of this length make a piece of work.
fn rows_per_task(row: usize) -> usize {
    (GRAIN / row.max(1)).max(1)
}

/// Does work of several parallel parts on a thread of the pool: a thread from outside would otherwise be put to sleep and woken
/// for each part.
fn together<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}
