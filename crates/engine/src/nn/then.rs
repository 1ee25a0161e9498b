//! What follows a product.

use candle_core::Tensor;
use scumble_kernels::Activation;

/// What is done to the numbers of a product, after its bias and before they go to memory, in this order.
#[derive(Clone, Copy, Default)]
pub(super) struct Then<'a> {
    pub(super) activation: Option<Activation>,
    /// Multiplied with: `[.., output]`.
    pub(super) times: Option<&'a Tensor>,
    /// Added to, `[.., output]`, through a gate `[batch, output]` where there is one.
    pub(super) onto: Option<(&'a Tensor, Option<&'a Tensor>)>,
}
