//! The short list of operations that models are written against.
//!
//! Each has a plain form over candle, right on every device and the oracle in tests, and on the CPU a kernel of
//! `scumble-kernels` where the plain form wastes time. Models never see which one runs.

mod activation;
mod attention;
mod card;
mod conv;
mod embed;
mod gate;
mod kernel;
mod linear;
mod norm;
mod rotary;
mod swiglu;
mod then;
mod work;

pub use activation::silu;
pub(crate) use attention::softmax;
pub use attention::{attention, join_heads, join_tokens, split_heads};
/// Tries our kernels on a card, once; an error says why plain forms run there.
#[cfg(feature = "cuda")]
pub(crate) use card::tried;
pub use conv::Conv2d;
pub use embed::{EmbedMlp, sinusoid};
pub use gate::gated;
pub use linear::{Embedding, Linear};
pub use norm::{GroupNorm, LayerNorm, RmsNorm, modulated_norm, standardised, unit_rms};
pub use rotary::Rotary;
pub use scumble_kernels::Activation;
pub use swiglu::SwiGlu;
pub use work::multiply_adds;
