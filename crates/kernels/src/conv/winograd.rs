//! Convolution 3×3 by minimal filtering, F(4×4, 3×3): Lavin and Gray (2016), "Fast Algorithms for Convolutional Neural
//! Networks".
//!
//! A tile of 6×6 pixels gives 4×4 of the output by 36 products where the definition takes 144. Pixels, weights and results
//! go through small fixed matrices, which costs exactness: about ten times the rounding of the definition in float32,
//! a thousandth of bfloat16's.

use rayon::prelude::*;

use super::Conv;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use crate::level::Level;
use crate::level::level;
use crate::product::DEPTH;
use crate::product::tile::Tile;
use crate::scratch::lend;
use crate::shared::Shared;
use crate::simd::{Portable, Simd};

/// Side of a tile of the input, and of the output.
const IN: usize = 6;
const OUT: usize = 4;
/// Products in a tile.
const POINTS: usize = IN * IN;
/// Tiles in a task; for every kernel a whole number of its rows.
const TILES: usize = 48;

/// What a task reads and where it writes.
struct Pass<'a> {
    conv: &'a Conv,
    x: &'a [f32],
    height: usize,
    width: usize,
    /// Sides of the output.
    rows: usize,
    columns: usize,
    /// Tiles from left to right.
    across: usize,
    onto: Option<&'a [f32]>,
}

/// [`weights`] of an instruction set.
type Weights = unsafe fn(&Conv, usize, &mut [f32]);
/// [`pixels`] of an instruction set.
type Pixels = unsafe fn(&Pass<'_>, usize, usize, usize, &mut [f32]);
/// [`results`] of an instruction set.
type Results = unsafe fn(&Pass<'_>, usize, usize, (usize, usize), &[f32], &Shared<'_>);

/// Vector code of an instruction set.
struct Steps {
    weights: Weights,
    pixels: Pixels,
    results: Results,
}

impl Conv {
    /// Convolves one picture.
    pub(super) fn filter(&self, x: &[f32], (height, width): (usize, usize), onto: Option<&[f32]>, y: &mut [f32]) {
        self.filter_by(Tile::of_level(), &Steps::of_level(), x, (height, width), onto, y);
    }

    fn filter_by(
        &self,
        tile: &Tile,
        steps: &Steps,
        x: &[f32],
        (height, width): (usize, usize),
        onto: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let (rows, columns) = (self.kind.side(height), self.kind.side(width));
        let pass = Pass { conv: self, x, height, width, rows, columns, across: columns.div_ceil(OUT), onto };
        let tiles = pass.across * rows.div_ceil(OUT);
        let wide = self.output.next_multiple_of(tile.columns);
        let y = Shared::new(y);
        // [channel of the input][point][panel of outputs][output in panel], then in the order of the tile kernel
        lend(POINTS * self.input * wide, |weights| {
            self.transform(tile, steps, weights);
            let weights = &*weights;
            (0..tiles.div_ceil(TILES)).into_par_iter().with_max_len(1).for_each(|task| {
                let first = task * TILES;
                pass.run(tile, steps, weights, first, TILES.min(tiles - first), &y);
            });
        });
    }

    /// Brings the weights to `[point][piece of DEPTH inputs][panel of outputs][input][output in panel]`.
    fn transform(&self, tile: &Tile, steps: &Steps, weights: &mut [f32]) {
        let wide = self.output.next_multiple_of(tile.columns);
        let all = Shared::new(weights);
        (0..self.input).into_par_iter().with_min_len(8).for_each(|input| {
            lend(POINTS * wide, |row| {
                row.fill(0.0);
                #[expect(unsafe_code, reason = "the vector code of the instruction set that was detected")]
                // SAFETY: `of_level` took the code of a level that the machine has.
                unsafe {
                    (steps.weights)(self, input, row);
                }
                let piece = input / DEPTH * DEPTH;
                let depth = DEPTH.min(self.input - piece);
                for (point, row) in row.chunks_exact(wide).enumerate() {
                    for (panel, values) in row.chunks_exact(tile.columns).enumerate() {
                        let at = (point * self.input + piece) * wide + (panel * depth + input - piece) * tile.columns;
                        #[expect(unsafe_code, reason = "tasks write inputs of their own")]
                        // SAFETY: no other task has this channel of the input.
                        unsafe { all.part(at, tile.columns) }.copy_from_slice(values);
                    }
                }
            });
        });
    }
}

impl Pass<'_> {
    /// Computes tiles from `first` on.
    fn run(&self, tile: &Tile, steps: &Steps, weights: &[f32], first: usize, count: usize, y: &Shared<'_>) {
        let (input, output) = (self.conv.input, self.conv.output);
        let wide = output.next_multiple_of(tile.columns);
        let tall = count.next_multiple_of(tile.rows);
        lend(POINTS * tall * wide, |sums| {
            lend(POINTS * tall * input, |pixels| {
                if tall > count {
                    pixels.fill(0.0);
                }
                #[expect(unsafe_code, reason = "the vector code of the instruction set that was detected")]
                // SAFETY: `of_level` took the code of a level that the machine has.
                unsafe {
                    (steps.pixels)(self, first, count, tile.rows, pixels);
                }
                let points = pixels.chunks_exact(tall * input).zip(weights.chunks_exact(input * wide));
                for ((pixels, weights), sums) in points.zip(sums.chunks_exact_mut(tall * wide)) {
                    for start in (0..input).step_by(DEPTH) {
                        let depth = DEPTH.min(input - start);
                        let pixels = &pixels[start * tall..][..depth * tall];
                        let weights = &weights[start * wide..][..depth * wide];
                        tile.multiply(pixels, weights, depth, start > 0, sums);
                    }
                }
            });
            #[expect(unsafe_code, reason = "the vector code of the instruction set that was detected")]
            // SAFETY: as above; no other task has these tiles.
            unsafe {
                (steps.results)(self, first, count, (tall * wide, wide), sums, y);
            }
        });
    }

    /// Where a pixel of the input begins, by its place in the output's grid; nothing outside.
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> Option<usize> {
        // the grid begins one pixel before the picture
        let (row, column) = (row.checked_sub(1)?, column.checked_sub(1)?);
        if row >= self.rows || column >= self.columns {
            return None;
        }
        let (row, column) = (row * self.height / self.rows, column * self.width / self.columns);
        Some((row * self.width + column) * self.conv.input)
    }
}

impl Steps {
    fn of_level() -> Self {
        match level() {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Level::Avx512 => Self { weights: avx512::weights, pixels: avx512::pixels, results: avx512::results },
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Level::Avx2 => Self { weights: avx2::weights, pixels: avx2::pixels, results: avx2::results },
            _ => Self::portable::<8>(),
        }
    }

    fn portable<const LANES: usize>() -> Self {
        let (weights, pixels) = (weights::<Portable<LANES>>, pixels::<Portable<LANES>>);
        Self { weights, pixels, results: results::<Portable<LANES>> }
    }
}

/// The steps, compiled for an instruction set.
macro_rules! steps {
    ($name:ident, $features:literal) => {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        #[expect(unsafe_code, reason = "instantiates vector code where its instruction set is enabled")]
        mod $name {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) unsafe fn weights(conv: &Conv, input: usize, row: &mut [f32]) {
                // SAFETY: the caller's.
                unsafe { super::weights::<steps!(@ $name)>(conv, input, row) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn pixels(pass: &Pass<'_>, first: usize, count: usize, panel: usize, to: &mut [f32]) {
                // SAFETY: the caller's.
                unsafe { super::pixels::<steps!(@ $name)>(pass, first, count, panel, to) }
            }
            #[target_feature(enable = $features)]
            pub(super) unsafe fn results(p: &Pass<'_>, first: usize, n: usize, strides: (usize, usize), s: &[f32], y: &Shared<'_>) {
                // SAFETY: the caller's.
                unsafe { super::results::<steps!(@ $name)>(p, first, n, strides, s, y) }
            }
        }
    };
    (@ avx2) => { crate::simd::Avx2 };
    (@ avx512) => { crate::simd::Avx512 };
}

steps!(avx2, "avx2,fma");
steps!(avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// The weights of one channel of the input at all points, `[point][output]`: G g Gᵀ.
///
/// # Safety
/// The instruction set of `S` is there.
#[inline(always)]
#[expect(unsafe_code, reason = "vectors by pointer")]
unsafe fn weights<S: Simd>(conv: &Conv, input: usize, row: &mut [f32]) {
    let wide = row.len() / POINTS;
    for o in (0..conv.output).step_by(S::LANES) {
        // SAFETY: the caller's; outputs are whole vectors, as `Conv::filters` asks.
        unsafe {
            let tap = |y: usize, x: usize| {
                let at = ((y * 3 + x) * conv.input + input) * conv.output + o;
                S::load(conv.weights[at..at + S::LANES].as_ptr())
            };
            let mut half = [[S::splat(0.0); 3]; IN];
            for x in 0..3 {
                let column = spread::<S>([tap(0, x), tap(1, x), tap(2, x)]);
                for y in 0..IN {
                    half[y][x] = column[y];
                }
            }
            for y in 0..IN {
                let points = spread::<S>(half[y]);
                for x in 0..IN {
                    let at = (y * IN + x) * wide + o;
                    S::store(row[at..at + S::LANES].as_mut_ptr(), points[x]);
                }
            }
        }
    }
}

/// Pixels of tiles from `first` on at all points, `[point][piece of DEPTH inputs][panel of tiles][input][tile in panel]`:
/// Bᵀ d B.
///
/// # Safety
/// The instruction set of `S` is there.
#[inline(always)]
#[expect(unsafe_code, reason = "vectors by pointer")]
unsafe fn pixels<S: Simd>(pass: &Pass<'_>, first: usize, count: usize, panel: usize, to: &mut [f32]) {
    let input = pass.conv.input;
    let tall = to.len() / (POINTS * input);
    let mut values = [[0f32; 16]; POINTS];
    for tile in 0..count {
        let (top, left) = ((first + tile) / pass.across * OUT, (first + tile) % pass.across * OUT);
        let mut places = [[None; IN]; IN];
        for y in 0..IN {
            for x in 0..IN {
                places[y][x] = pass.at(top + y, left + x);
            }
        }
        for channel in (0..input).step_by(S::LANES) {
            // SAFETY: the caller's; inputs are whole vectors, as `Conv::filters` asks.
            unsafe {
                let mut d = [[S::splat(0.0); IN]; IN];
                for y in 0..IN {
                    for x in 0..IN {
                        if let Some(at) = places[y][x] {
                            d[y][x] = S::load(pass.x[at + channel..][..S::LANES].as_ptr());
                        }
                    }
                }
                for x in 0..IN {
                    let column = mix::<S>([d[0][x], d[1][x], d[2][x], d[3][x], d[4][x], d[5][x]]);
                    for y in 0..IN {
                        d[y][x] = column[y];
                    }
                }
                for y in 0..IN {
                    let points = mix::<S>(d[y]);
                    for x in 0..IN {
                        S::store(values[y * IN + x].as_mut_ptr(), points[x]);
                    }
                }
            }
            let piece = channel / DEPTH * DEPTH;
            let depth = DEPTH.min(input - piece);
            let at = piece * tall + (tile / panel * depth + channel - piece) * panel + tile % panel;
            for (point, values) in values.iter().enumerate() {
                let to = &mut to[point * tall * input + at..];
                let last = (S::LANES - 1) * panel;
                assert!(last < to.len());
                for lane in 0..S::LANES {
                    to[lane * panel] = values[lane];
                }
            }
        }
    }
}

/// Sums of tiles from `first` on, `[point][tile][output]` with these strides from point to point and tile to tile, to pixels
/// of the output: Aᵀ m A, the bias, and what it is added to.
///
/// # Safety
/// The instruction set of `S` is there; nobody else writes these tiles.
#[inline(always)]
#[expect(unsafe_code, reason = "vectors by pointer")]
unsafe fn results<S: Simd>(
    pass: &Pass<'_>,
    first: usize,
    count: usize,
    (stride, wide): (usize, usize),
    sums: &[f32],
    y: &Shared<'_>,
) {
    let output = pass.conv.output;
    for tile in 0..count {
        let (top, left) = ((first + tile) / pass.across * OUT, (first + tile) % pass.across * OUT);
        let (high, broad) = (OUT.min(pass.rows - top), OUT.min(pass.columns - left));
        for channel in (0..output).step_by(S::LANES) {
            // SAFETY: the caller's; outputs are whole vectors, as `Conv::filters` asks.
            unsafe {
                let sum = |y: usize, x: usize| {
                    let at = (y * IN + x) * stride + tile * wide + channel;
                    S::load(sums[at..at + S::LANES].as_ptr())
                };
                let mut half = [[S::splat(0.0); IN]; OUT];
                for x in 0..IN {
                    let column = gather::<S>([sum(0, x), sum(1, x), sum(2, x), sum(3, x), sum(4, x), sum(5, x)]);
                    for y in 0..OUT {
                        half[y][x] = column[y];
                    }
                }
                let bias = S::load(pass.conv.bias[channel..][..S::LANES].as_ptr());
                for row in 0..high {
                    let pixels = gather::<S>(half[row]);
                    for column in 0..broad {
                        let at = ((top + row) * pass.columns + left + column) * output + channel;
                        let mut value = S::add(pixels[column], bias);
                        if let Some(onto) = pass.onto {
                            value = S::add(value, S::load(onto[at..at + S::LANES].as_ptr()));
                        }
                        S::store(y.part(at, S::LANES).as_mut_ptr(), value);
                    }
                }
            }
        }
    }
}

/// Bᵀ times a column.
///
/// # Safety
/// The instruction set of `S` is there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector operations")]
unsafe fn mix<S: Simd>(d: [S::V; IN]) -> [S::V; IN] {
    // SAFETY: the caller's.
    unsafe {
        let (two, four, five) = (S::splat(2.0), S::splat(4.0), S::splat(5.0));
        let minus = |a: S::V| S::sub(S::splat(0.0), a);
        let (sum12, sum34) = (S::add(d[1], d[2]), S::add(d[3], d[4]));
        let (gap12, gap43) = (S::sub(d[1], d[2]), S::sub(d[4], d[3]));
        let (gap31, gap42) = (S::sub(d[3], d[1]), S::sub(d[4], d[2]));
        [
            S::fma(four, d[0], S::fma(minus(five), d[2], d[4])),
            S::fma(minus(four), sum12, sum34),
            S::fma(four, gap12, gap43),
            S::fma(two, gap31, gap42),
            S::fma(minus(two), gap31, gap42),
            S::fma(four, d[1], S::fma(minus(five), d[3], d[5])),
        ]
    }
}

/// G times a column.
///
/// # Safety
/// The instruction set of `S` is there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector operations")]
unsafe fn spread<S: Simd>(g: [S::V; 3]) -> [S::V; IN] {
    // SAFETY: the caller's.
    unsafe {
        let times = |factor: f32, a: S::V| S::fma(S::splat(factor), a, S::splat(0.0));
        let even = times(-1.0 / 6.0, S::add(g[0], g[2]));
        let wide = S::fma(S::splat(1.0 / 24.0), g[0], times(1.0 / 6.0, g[2]));
        [
            times(0.25, g[0]),
            S::fma(S::splat(-1.0 / 6.0), g[1], even),
            S::fma(S::splat(1.0 / 6.0), g[1], even),
            S::fma(S::splat(1.0 / 12.0), g[1], wide),
            S::fma(S::splat(-1.0 / 12.0), g[1], wide),
            g[2],
        ]
    }
}

/// Aᵀ times a column.
///
/// # Safety
/// The instruction set of `S` is there.
#[inline(always)]
#[expect(unsafe_code, reason = "vector operations")]
unsafe fn gather<S: Simd>(m: [S::V; IN]) -> [S::V; OUT] {
    // SAFETY: the caller's.
    unsafe {
        let (sum12, gap12) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum34, gap34) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum12, sum34)),
            S::fma(S::splat(2.0), gap34, gap12),
            S::fma(S::splat(4.0), sum34, sum12),
            S::fma(S::splat(8.0), gap34, S::add(gap12, m[5])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::ConvKind;
    use crate::product::tests::draw;

    /// Tiles and vectors of the shape of AVX-512's give what those of this machine give.
    #[test]
    #[cfg_attr(miri, ignore = "slow there, and nothing new")]
    fn wide_tiles_agree() {
        for (input, output, size) in [(16, 16, (5, 7)), (288, 48, (9, 30))] {
            let conv = Conv::new(ConvKind::Same { kernel: 3 }, &draw(output * input * 9, 1), &draw(output, 2));
            let x = draw(input * size.0 * size.1, 3);
            let (mut y, mut wide) = (vec![0f32; output * size.0 * size.1], vec![0f32; output * size.0 * size.1]);
            conv.filter(&x, size, None, &mut y);
            conv.filter_by(Tile::wide(), &Steps::portable::<16>(), &x, size, None, &mut wide);
            let far = y.iter().zip(&wide).fold(0f32, |far, (y, wide)| far.max((y - wide).abs()));
            // about 650 is added up without signs, and one of the two ways rounds after each step
            assert!(far < 1e-3, "{far}");
        }
    }
}
