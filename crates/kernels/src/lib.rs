//! CPU kernels for the operations where a tensor library's general code loses: transcendental activations, softmax,
//! normalisations, rotations, convolutions.
//!
//! Safe functions over slices; nothing of diffusion and no tensor type in here. Every kernel is plain Rust that the
//! compiler vectorises; `multiversion!` compiles it for AVX-512 and AVX2 too and picks at run
//! time. There is no fused multiply-add and sums have a fixed shape, so each level gives the same bits as the portable
//! one. Reduced types are computed in float32 and rounded once.

mod activation;
mod conv;
mod element;
mod math;
mod multiversion;
mod norm;
mod rotate;
mod softmax;

pub use activation::{Activation, activate, gate_gelu_tanh};
pub use conv::{Conv, ConvKind};
pub use element::Element;
pub use norm::{GroupNorm, group_norm, layer_norm, rms_norm};
pub use rotate::rotate_pairs;
pub use softmax::softmax_rows;

/// Work below this many elements is not worth handing to another thread.
const GRAIN: usize = 1 << 14;

/// How many rows of this length make a piece of work.
fn rows_per_task(row: usize) -> usize {
    (GRAIN / row.max(1)).max(1)
}
