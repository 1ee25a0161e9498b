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
/// Positions in a vector.
const LANE: usize = 16;

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

    /// Convolves `[batch, input, height, width]` to `[batch, output, side(height), side(width)]`.
    ///
    /// # Panics
    /// Where the lengths do not fit.
    pub fn run(&self, input: &[f32], size: (usize, usize), output: &mut [f32]) {
        self.run_tiled(&Tiling::of_machine(), input, size, output);
    }

    fn run_tiled(&self, tiling: &Tiling, input: &[f32], (height, width): (usize, usize), output: &mut [f32]) {
        let shape = Geometry::new(self.kind, (height, width));
        let (from, to) = (self.input * height * width, self.output * shape.rows * shape.columns);
        assert!(from > 0 && input.len().is_multiple_of(from) && output.len() == input.len() / from * to);
        if to == 0 {
            return;
        }
        let slab = (tiling.slab / (self.input * shape.phases() * shape.row)).clamp(1, shape.rows);
        let mut padded = vec![0f32; self.input * shape.channel(slab)];
        for (input, output) in input.chunks_exact(from).zip(output.chunks_exact_mut(to)) {
            for start in (0..shape.rows).step_by(slab) {
                let taken = start..shape.rows.min(start + slab);
                let padded = &mut padded[..self.input * shape.channel(taken.len())];
                shape.pad(input, &taken, padded);
                self.slab(tiling, &shape, padded, &taken, output);
            }
        }
    }

    /// Computes some rows of every output plane.
    fn slab(&self, tiling: &Tiling, shape: &Geometry, padded: &[f32], taken: &Range<usize>, output: &mut [f32]) {
        let band = (tiling.band / shape.row).clamp(1, taken.len());
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
        tasks.into_par_iter().enumerate().for_each_init(
            || vec![0f32; BLOCK * shape.positions(band)],
            |sums, (task, parts)| {
                let (block, first) = (task / bands, task % bands * band * shape.row);
                let rows = parts.first().map_or(0, |part| part.len() / shape.columns);
                let sums = &mut sums[..BLOCK * shape.positions(rows)];
                self.band(tiling, &reads, (block, first), sums);
                store(shape, sums, parts);
            },
        );
    }

    /// Computes the sums of one block of output channels, `[BLOCK, positions]`, from position `first`.
    fn band(&self, tiling: &Tiling, reads: &Reads<'_>, (block, first): (usize, usize), sums: &mut [f32]) {
        let bias = &self.bias[block * BLOCK..];
        let length = sums.len() / BLOCK;
        for (o, sums) in sums.chunks_exact_mut(length).enumerate() {
            sums.fill(bias.get(o).copied().unwrap_or(0.0));
        }
        let size = self.input * reads.offsets.len() * BLOCK;
        accumulate(tiling.wide, reads, &self.weights[block * size..][..size], first, sums);
    }
}

/// Copies a band's sums to the rows they belong to, without what was computed between rows.
fn store(shape: &Geometry, sums: &[f32], parts: Vec<&mut [f32]>) {
    for (part, sums) in parts.into_iter().zip(sums.chunks_exact(sums.len() / BLOCK)) {
        for (target, source) in part.chunks_exact_mut(shape.columns).zip(sums.chunks(shape.row)) {
            target.copy_from_slice(&source[..shape.columns]);
        }
    }
}

/// How the work is cut. Every cut gives the same bits.
struct Tiling {
    /// About how many numbers are padded at a time: they stay in the cache while all output channels read them.
    slab: usize,
    /// About how many positions a task takes.
    band: usize,
    /// Whether a block of output channels may take four vectors of positions at once.
    wide: bool,
}

impl Tiling {
    fn of_machine() -> Self {
        Self { slab: 1 << 20, band: 1024, wide: has_avx512() }
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
    fn accumulate(wide: bool, reads: &Reads<'_>, weights: &[f32], first: usize, sums: &mut [f32]) {
        let length = sums.len() / BLOCK;
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

/// Sums up one strip of `LANES` vectors of positions in registers.
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

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ConvKind; 4] =
        [ConvKind::Same { kernel: 1 }, ConvKind::Same { kernel: 3 }, ConvKind::Same { kernel: 5 }, ConvKind::Halve];

    fn ramp(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 500.0).collect()
    }

    /// One output by the definition, in float64, and the sum of what was added without signs.
    fn plain(
        kind: ConvKind,
        weight: &[f32],
        x: &[f32],
        (height, width): (usize, usize),
        y: usize,
        x0: usize,
    ) -> (f64, f64) {
        let kernel = kind.kernel();
        let (stride, before) = if kind == ConvKind::Halve { (2, 0) } else { (1, kernel / 2) };
        let (mut sum, mut size) = (0.0, 0.0);
        for (weight, plane) in weight.chunks(kernel * kernel).zip(x.chunks(height * width)) {
            for (tap, weight) in weight.iter().enumerate() {
                let (row, column) = (y * stride + tap / kernel, x0 * stride + tap % kernel);
                if (before..height + before).contains(&row) && (before..width + before).contains(&column) {
                    let product = f64::from(*weight) * f64::from(plane[(row - before) * width + column - before]);
                    (sum, size) = (sum + product, size + product.abs());
                }
            }
        }
        (sum, size)
    }

    fn check(kind: ConvKind, batch: usize, (input, output): (usize, usize), (height, width): (usize, usize)) {
        let taps = kind.kernel() * kind.kernel();
        let (weight, bias, x) = (ramp(output * input * taps), ramp(output), ramp(batch * input * height * width));
        let (rows, columns) = (kind.side(height), kind.side(width));
        let conv = Conv::new(kind, &weight, &bias);
        let mut y = vec![f32::NAN; batch * output * rows * columns];
        conv.run(&x, (height, width), &mut y);
        for (i, got) in y.iter().enumerate() {
            let (o, image) = (i / (rows * columns) % output, i / (rows * columns * output));
            let weight = &weight[o * input * taps..][..input * taps];
            let x = &x[image * input * height * width..][..input * height * width];
            let (sum, size) = plain(kind, weight, x, (height, width), i / columns % rows, i % columns);
            let error = (f64::from(*got) - sum - f64::from(bias[o])).abs();
            assert!(
                error <= 1e-6 * (1.0 + size),
                "{kind:?} {input}->{output} {height}x{width} at {i}: off by {error:e}"
            );
        }
        for tiling in [Tiling { slab: 1, band: 1, wide: false }, Tiling { slab: 700, band: 70, wide: true }] {
            let mut other = vec![f32::NAN; y.len()];
            conv.run_tiled(&tiling, &x, (height, width), &mut other);
            assert!(y.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits()), "the cut changes the result");
        }
    }

    #[test]
    fn small_pictures_agree_with_the_definition() {
        for kind in KINDS {
            for size in [(1, 1), (1, 7), (6, 1), (2, 2), (5, 4), (3, 17), (9, 8)] {
                check(kind, 1, (3, 5), size);
            }
            check(kind, 2, (1, 1), (4, 6));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "slow there, and nothing new")]
    fn larger_pictures_agree_with_the_definition() {
        for kind in KINDS {
            check(kind, 2, (33, 6), (20, 37));
            check(kind, 1, (16, 3), (64, 64));
            check(kind, 1, (40, 8), (2, 131));
            check(kind, 1, (4, 4), (33, 1));
        }
    }
}
