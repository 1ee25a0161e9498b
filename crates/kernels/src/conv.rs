//! Convolution over planes, without an im2col.
//!
//! The picture is taken in slabs of rows. A slab is copied once into planes whose rows are zero-padded, such that the
//! input of one tap of the kernel lies at one distance for all positions of the flattened slab; then strips of
//! positions, for a block of output channels each, stay in registers while input channels and taps pass by.

use std::ops::Range;

use rayon::prelude::*;

use crate::multiversion::{has_avx512, multiversion};

/// Output channels that share a pass over the input.
const BLOCK: usize = 4;
/// Input channels that are summed before the sum is added to the total, in this order on every machine.
const GROUP: usize = 16;
/// Positions that are computed side by side.
const LANE: usize = 16;
/// About how many positions a task takes.
const BAND: usize = 1024;
/// About how many numbers are padded at a time: they stay in the cache while all output channels read them.
const SLAB: usize = 1 << 20;

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
}

impl ConvKind {
    /// Side of the kernel.
    pub fn kernel(self) -> usize {
        match self {
            Self::Same { kernel } => kernel,
            Self::Halve => 3,
        }
    }

    /// Length of the output along a side of this length.
    pub fn side(self, input: usize) -> usize {
        match self {
            Self::Same { .. } => input,
            Self::Halve => input / 2,
        }
    }
}

/// A convolution with bias, its weights laid out for the kernel.
#[derive(Clone, Debug)]
pub struct Conv {
    kind: ConvKind,
    input: usize,
    output: usize,
    weights: Vec<f32>, // [block of outputs][input][ky][kx][output in block]
    bias: Vec<f32>,
}

impl Conv {
    /// `weight` is `[output, input, kernel, kernel]` and `bias` has one number per output channel.
    ///
    /// # Panics
    /// Where the lengths do not fit or the kernel's side is even.
    pub fn new(kind: ConvKind, weight: &[f32], bias: &[f32]) -> Self {
        let (output, taps) = (bias.len(), kind.kernel() * kind.kernel());
        assert!(!kind.kernel().is_multiple_of(2) && output > 0 && weight.len().is_multiple_of(output * taps));
        let row = weight.len() / output;
        let mut weights = vec![0f32; output.next_multiple_of(BLOCK) * row];
        for (o, source) in weight.chunks_exact(row.max(1)).enumerate() {
            let block = &mut weights[o / BLOCK * BLOCK * row..];
            for (at, value) in source.iter().enumerate() {
                block[at * BLOCK + o % BLOCK] = *value;
            }
        }
        Self { kind, input: row / taps, output, weights, bias: bias.to_vec() }
    }

    /// Convolves `[batch, input, height, width]` to `[batch, output, side(height), side(width)]`.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn run(&self, input: &[f32], (height, width): (usize, usize), output: &mut [f32]) {
        let (rows, columns) = (self.kind.side(height), self.kind.side(width));
        let (from, to) = (self.input * height * width, self.output * rows * columns);
        assert!(from > 0 && input.len().is_multiple_of(from) && output.len() == input.len() / from * to);
        if to == 0 {
            return;
        }
        let shape = Geometry::new(self.kind, (height, width));
        let slab = (SLAB / (self.input * shape.phases() * shape.row)).clamp(1, rows);
        let mut padded = vec![0f32; self.input * shape.channel(slab)];
        for (input, output) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)) {
            for start in (0..rows).step_by(slab) {
                let taken = start..rows.min(start + slab);
                let padded = &mut padded[..self.input * shape.channel(taken.len())];
                shape.pad(input, &taken, padded);
                self.slab(&shape, padded, &taken, output);
            }
        }
    }

    /// Computes some rows of every output plane.
    fn slab(&self, shape: &Geometry, padded: &[f32], taken: &Range<usize>, output: &mut [f32]) {
        let band = (BAND / shape.row).clamp(1, taken.len());
        let bands = taken.len().div_ceil(band);
        let mut tasks: Vec<Vec<&mut [f32]>> = Vec::new();
        tasks.resize_with(bands * self.output.div_ceil(BLOCK), Vec::new);
        for (o, plane) in output.chunks_exact_mut(shape.rows * shape.columns).enumerate() {
            let rows = &mut plane[taken.start * shape.columns..taken.end * shape.columns];
            for (b, part) in rows.chunks_mut(band * shape.columns).enumerate() {
                tasks[o / BLOCK * bands + b].push(part);
            }
        }
        let offsets = shape.offsets(taken.len());
        let reads = Reads { padded, channel: shape.channel(taken.len()), offsets: &offsets };
        let most = shape.positions(band);
        tasks.into_par_iter().enumerate().for_each_init(
            || vec![0f32; BLOCK * most],
            |sums, (task, parts)| self.band(shape, &reads, (task / bands, task % bands * band), sums, parts),
        );
    }

    /// Computes some rows of one block of output planes.
    fn band(
        &self,
        shape: &Geometry,
        reads: &Reads<'_>,
        (block, first): (usize, usize),
        sums: &mut [f32],
        parts: Vec<&mut [f32]>,
    ) {
        let rows = parts.first().map_or(0, |part| part.len() / shape.columns);
        let length = shape.positions(rows);
        let sums = &mut sums[..BLOCK * length];
        let bias = &self.bias[block * BLOCK..];
        for (o, sums) in sums.chunks_exact_mut(length).enumerate() {
            sums.fill(bias.get(o).copied().unwrap_or(0.0));
        }
        let size = self.input * reads.offsets.len() * BLOCK;
        accumulate(reads, &self.weights[block * size..][..size], first * shape.row, sums);
        for (part, sums) in parts.into_iter().zip(sums.chunks_exact(length)) {
            for (target, source) in part.chunks_exact_mut(shape.columns).zip(sums.chunks(shape.row)) {
                target.copy_from_slice(&source[..shape.columns]);
            }
        }
    }
}

/// Sizes of a picture, and of its padded form.
struct Geometry {
    kind: ConvKind,
    height: usize,
    width: usize,
    /// Rows of the output.
    rows: usize,
    /// Columns of the output.
    columns: usize,
    /// Length of a padded row. The zeros to the right of a row are those to the left of the next.
    row: usize,
}

impl Geometry {
    fn new(kind: ConvKind, (height, width): (usize, usize)) -> Self {
        let (rows, columns) = (kind.side(height), kind.side(width));
        Self { kind, height, width, rows, columns, row: columns + kind.kernel() / 2 }
    }

    /// Positions from the first to the last of so many rows, in whole vectors.
    fn positions(&self, rows: usize) -> usize {
        (rows.max(1) * self.row - (self.row - self.columns)).next_multiple_of(LANE)
    }

    /// Padded planes per channel: with a stride, those of even and odd rows and columns lie apart.
    fn phases(&self) -> usize {
        match self.kind {
            ConvKind::Same { .. } => 1,
            ConvKind::Halve => 4,
        }
    }

    /// Length of a padded plane that serves this many rows of output.
    fn plane(&self, rows: usize) -> usize {
        let more = match self.kind {
            ConvKind::Same { kernel } => kernel,
            ConvKind::Halve => 2,
        };
        (rows + more) * self.row + LANE
    }

    /// Length of all padded planes of a channel.
    fn channel(&self, rows: usize) -> usize {
        self.phases() * self.plane(rows)
    }

    /// Where each tap reads, relative to the output's position in the first plane of a channel.
    fn offsets(&self, rows: usize) -> Vec<usize> {
        let kernel = self.kind.kernel();
        let at = |tap: usize| match self.kind {
            ConvKind::Same { .. } => tap / kernel * self.row + tap % kernel,
            ConvKind::Halve => {
                let (y, x) = (tap / kernel, tap % kernel);
                (y % 2 * 2 + x % 2) * self.plane(rows) + y / 2 * self.row + x / 2
            }
        };
        (0..kernel * kernel).map(at).collect()
    }

    /// Fills the padded planes that serve these rows of output.
    fn pad(&self, input: &[f32], taken: &Range<usize>, padded: &mut [f32]) {
        let plane = self.plane(taken.len());
        padded.par_chunks_mut(plane * self.phases()).zip(input.par_chunks(self.height * self.width)).for_each(
            |(planes, source)| {
                for (phase, plane) in planes.chunks_exact_mut(plane).enumerate() {
                    for (y, row) in plane.chunks_mut(self.row).enumerate() {
                        self.pad_row(source, taken.start + y, phase, row);
                    }
                }
            },
        );
    }

    /// Fills one padded row; what lies outside of the picture is 0.
    fn pad_row(&self, source: &[f32], y: usize, phase: usize, row: &mut [f32]) {
        let (y, zeros) = match self.kind {
            ConvKind::Same { kernel } => (y.checked_sub(kernel / 2), kernel / 2),
            ConvKind::Halve => (Some(2 * y + phase / 2), 0),
        };
        let inside = y.filter(|y| *y < self.height).map_or(&[][..], |y| &source[y * self.width..][..self.width]);
        let (left, rest) = row.split_at_mut(zeros.min(row.len()));
        left.fill(0.0);
        let filled = match self.kind {
            ConvKind::Same { .. } => {
                let filled = rest.len().min(inside.len());
                rest[..filled].copy_from_slice(&inside[..filled]);
                filled
            }
            ConvKind::Halve => {
                let inside = inside.get(phase % 2..).unwrap_or_default();
                for (to, from) in rest.iter_mut().zip(inside.chunks(2)) {
                    *to = from[0];
                }
                rest.len().min(inside.len().div_ceil(2))
            }
        };
        rest[filled..].fill(0.0);
    }
}

/// Padded planes and how to find a tap's input in them.
struct Reads<'a> {
    padded: &'a [f32],
    /// Length of a channel.
    channel: usize,
    offsets: &'a [usize],
}

multiversion! {
    /// Adds to a band's sums, `[BLOCK, positions]`, what all input channels give; the band starts at position `first`.
    fn accumulate(reads: &Reads<'_>, weights: &[f32], first: usize, sums: &mut [f32]) {
        let (length, wide) = (sums.len() / BLOCK, has_avx512());
        let size = reads.offsets.len() * BLOCK;
        for (padded, weights) in reads.padded.chunks(GROUP * reads.channel).zip(weights.chunks(GROUP * size)) {
            let reads = Reads { padded, ..*reads };
            let mut at = 0;
            while wide && at + 4 * LANE <= length {
                strip::<4>(&reads, weights, first + at, &mut sums[at..], length);
                at += 4 * LANE;
            }
            while wide && at + 2 * LANE <= length {
                strip::<2>(&reads, weights, first + at, &mut sums[at..], length);
                at += 2 * LANE;
            }
            while at < length {
                strip::<1>(&reads, weights, first + at, &mut sums[at..], length);
                at += LANE;
            }
        }
    }
}

/// Runs an expression for 0, 1, 2 and 3, without a loop: the compiler then keeps what is indexed in registers.
macro_rules! unrolled {
    ($index:ident => $body:expr) => {{
        {
            let $index = 0;
            $body;
        }
        {
            let $index = 1;
            $body;
        }
        {
            let $index = 2;
            $body;
        }
        {
            let $index = 3;
            $body;
        }
    }};
}

/// Sums up one strip of `LANES` times sixteen positions in registers.
#[inline(always)]
fn strip<const LANES: usize>(reads: &Reads<'_>, weights: &[f32], first: usize, sums: &mut [f32], length: usize) {
    let mut registers = [[[0f32; LANE]; LANES]; BLOCK];
    let size = reads.offsets.len() * BLOCK;
    for (channel, weights) in reads.padded.chunks_exact(reads.channel).zip(weights.chunks_exact(size)) {
        for (weights, offset) in weights.as_chunks::<BLOCK>().0.iter().zip(reads.offsets) {
            let values = &channel[first + offset..][..LANES * LANE];
            unrolled!(lane => if lane < LANES {
                let values = &values[lane * LANE..][..LANE];
                unrolled!(o => {
                    let sums = &mut registers[o][lane];
                    for i in 0..LANE {
                        sums[i] += weights[o] * values[i];
                    }
                });
            });
        }
    }
    unrolled!(o => unrolled!(lane => if lane < LANES {
        let sums = &mut sums[o * length + lane * LANE..][..LANE];
        for i in 0..LANE {
            sums[i] += registers[o][lane][i];
        }
    }));
}
