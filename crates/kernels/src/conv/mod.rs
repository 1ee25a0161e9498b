//! Convolution of pictures whose channels lie together, `[batch, height, width, channels]`.
//!
//! Three ways, by what is convolved: a kernel of one pixel is a product; 3×3 without stride over whole vectors of channels
//! goes by Winograd's minimal filtering; everything else is multiplied by the definition.

mod direct;
mod winograd;

use crate::product::{Finish, Plain, Residual, product};

/// Where a convolution takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvKind {
    /// A square kernel of odd size, with zeros on all sides: the size stays.
    Same {
        /// Side of the kernel.
        kernel: usize,
    },
    /// Kernel 3, every second position, one row of zeros below and one column to the right: the size halves.
    Halve,
    /// Every pixel is repeated in both directions, then kernel 3 as in `Same`: the size doubles.
    Double,
}

impl ConvKind {
    /// Side of the kernel.
    pub fn kernel(self) -> usize {
        match self {
            Self::Same { kernel } => kernel,
            Self::Halve | Self::Double => 3,
        }
    }

    /// Length of the output along a side of this length.
    pub fn side(self, input: usize) -> usize {
        match self {
            Self::Same { .. } => input,
            Self::Halve => input / 2,
            Self::Double => input * 2,
        }
    }

    /// The row that a row of the kernel sees at a row of the output, in a picture with so many; nothing for zeros.
    fn seen(self, output: usize, tap: usize, side: usize) -> Option<usize> {
        let at = match self {
            Self::Same { kernel } => (output + tap).checked_sub(kernel / 2)?,
            Self::Halve => output * 2 + tap,
            Self::Double => (output + tap).checked_sub(1)? / 2,
        };
        (at < side).then_some(at)
    }
}

/// A convolution with bias, its weights laid out for the way that it goes.
#[derive(Clone, Debug)]
pub struct Conv {
    kind: ConvKind,
    input: usize,
    output: usize,
    /// `[output][tap][input]`; where Winograd's way is taken `[tap][input][output]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// Channels that Winograd's way takes together: the longest vector, and half of the widest tile.
const TOGETHER: usize = 16;

impl Conv {
    /// `weight` is `[output, input, kernel, kernel]` and `bias` has one number per output channel.
    ///
    /// # Panics
    /// Where the lengths do not fit or the kernel's side is even.
    pub fn new(kind: ConvKind, weight: &[f32], bias: &[f32]) -> Self {
        let (output, taps) = (bias.len(), kind.kernel() * kind.kernel());
        assert!(!kind.kernel().is_multiple_of(2) && output > 0 && weight.len().is_multiple_of(output * taps));
        let input = weight.len() / (output * taps);
        assert!(input > 0);
        let mut this = Self { kind, input, output, weights: vec![0.0; weight.len()], bias: bias.to_vec() };
        let filters = this.filters();
        for (o, weight) in weight.chunks_exact(input * taps).enumerate() {
            for (i, weight) in weight.chunks_exact(taps).enumerate() {
                for (tap, value) in weight.iter().enumerate() {
                    let at = if filters { (tap * input + i) * output + o } else { (o * taps + tap) * input + i };
                    this.weights[at] = *value;
                }
            }
        }
        this
    }

    /// Where it takes its input.
    pub fn kind(&self) -> ConvKind {
        self.kind
    }

    /// Channels of the input.
    pub fn input(&self) -> usize {
        self.input
    }

    /// Channels of the output.
    pub fn output(&self) -> usize {
        self.output
    }

    /// Whether it goes by Winograd's way.
    fn filters(&self) -> bool {
        let fits = self.input.is_multiple_of(TOGETHER) && self.output.is_multiple_of(TOGETHER);
        fits && matches!(self.kind, ConvKind::Same { kernel: 3 } | ConvKind::Double)
    }

    /// Convolves `[batch, height, width, input]` to `[batch, side(height), side(width), output]`, and adds the result to
    /// `onto` where there is one.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn run(&self, x: &[f32], (height, width): (usize, usize), onto: Option<&[f32]>, y: &mut [f32]) {
        let (rows, columns) = (self.kind.side(height), self.kind.side(width));
        let (from, to) = (self.input * height * width, self.output * rows * columns);
        assert!(from > 0 && x.len().is_multiple_of(from) && y.len() == x.len() / from * to);
        assert!(onto.is_none_or(|onto| onto.len() == y.len()));
        if to == 0 {
            return;
        }
        if self.kind == (ConvKind::Same { kernel: 1 }) {
            let residual = onto.map(|onto| Residual { onto, gate: None });
            let finish = Finish { bias: Some(&self.bias), residual, ..Finish::default() };
            return product(x, &Plain::new(&self.weights, self.input), &finish, y);
        }
        for (image, (x, y)) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)).enumerate() {
            let onto = onto.map(|onto| &onto[image * to..][..to]);
            if self.filters() {
                self.filter(x, (height, width), onto, y);
            } else if self.spreads() {
                self.spread(x, (height, width), onto, y);
            } else {
                self.gather(x, (height, width), onto, y);
            }
        }
    }
}

#[cfg(test)]
mod tests;
