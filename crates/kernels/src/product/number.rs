//! What the innermost loop multiplies: float32, or pairs of bfloat16.

use super::Rows;
use crate::decode::nearest_bfloat16;
use crate::multiversion::multiversion;
use crate::scratch::{lend, lend_lanes};

/// 32 bits of a row in a panel.
pub(crate) trait Number: Copy + Default + Send + Sync + 'static {
    /// Columns that it stands for.
    const PER: usize;

    /// The numbers of a row of x from its beginning on, as many as `to` has; columns that are not there are 0.
    fn read(x: &[f32], to: &mut [Self]);
    /// The same of a row of W, from column `first` on.
    fn read_row(w: &dyn Rows, row: usize, first: usize, to: &mut [Self]);
    /// The numbers of columns that stand below one another, row by row: of as many rows as a number holds columns, the second of
    /// which may be missing and is 0 then.
    fn stand(first: &[f32], second: Option<&[f32]>, to: &mut [Self]);
    /// A matrix, rows of `columns`, whose rows stand below one another: as it is where a number holds one of them, else in `room`.
    fn stacked<'a>(matrix: &'a [f32], columns: usize, room: &'a mut [Self]) -> &'a [Self];
    /// Memory that is kept between calls.
    fn lend<R>(length: usize, work: impl FnOnce(&mut [Self]) -> R) -> R;
}

impl Number for f32 {
    const PER: usize = 1;

    fn read(x: &[f32], to: &mut [Self]) {
        to.copy_from_slice(&x[..to.len()]);
    }
    fn read_row(w: &dyn Rows, row: usize, first: usize, to: &mut [Self]) {
        w.read(row, first, to);
    }
    fn stand(first: &[f32], _: Option<&[f32]>, to: &mut [Self]) {
        to.copy_from_slice(first);
    }
    fn stacked<'a>(matrix: &'a [f32], _: usize, _: &'a mut [Self]) -> &'a [Self] {
        matrix
    }
    fn lend<R>(length: usize, work: impl FnOnce(&mut [Self]) -> R) -> R {
        lend(length, work)
    }
}

/// Two numbers in bfloat16, the first in the lower half.
impl Number for u32 {
    const PER: usize = 2;

    fn read(x: &[f32], to: &mut [Self]) {
        pairs(&x[..x.len().min(2 * to.len())], to);
    }
    fn read_row(w: &dyn Rows, row: usize, first: usize, to: &mut [Self]) {
        w.read_pairs(row, first, to);
    }
    fn stand(first: &[f32], second: Option<&[f32]>, to: &mut [Self]) {
        match second {
            Some(second) => stand(first, second, to),
            None => to.iter_mut().zip(first).for_each(|(to, x)| *to = nearest_bfloat16(x.to_bits())),
        }
    }
    fn stacked<'a>(matrix: &'a [f32], columns: usize, room: &'a mut [Self]) -> &'a [Self] {
        let room = &mut room[..(matrix.len() / columns).div_ceil(2) * columns];
        for (rows, to) in matrix.chunks(2 * columns).zip(room.chunks_exact_mut(columns)) {
            let (first, second) = rows.split_at(columns);
            Self::stand(first, (!second.is_empty()).then_some(second), to);
        }
        room
    }
    fn lend<R>(length: usize, work: impl FnOnce(&mut [Self]) -> R) -> R {
        lend_lanes(length, work)
    }
}

multiversion! {
    /// Rounds numbers to bfloat16, two by two; the last one of an odd number stands beside a 0.
    pub(super) fn pairs(x: &[f32], to: &mut [u32]) {
        let (whole, odd) = x.as_chunks::<2>();
        for i in 0..whole.len() {
            to[i] = nearest_bfloat16(whole[i][0].to_bits()) | nearest_bfloat16(whole[i][1].to_bits()) << 16;
        }
        if let [last] = odd {
            to[whole.len()] = nearest_bfloat16(last.to_bits());
        }
    }
}

multiversion! {
    /// Rounds two rows to bfloat16, the first in the lower halves.
    fn stand(first: &[f32], second: &[f32], to: &mut [u32]) {
        for i in 0..to.len().min(first.len()).min(second.len()) {
            to[i] = nearest_bfloat16(first[i].to_bits()) | nearest_bfloat16(second[i].to_bits()) << 16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_nearest_bfloat16() {
        let numbers = [1.0, -2.5, 1.003_906_2, 1.011_718_8, 1e-40, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, 0.1];
        let mut got = [0; 5];
        pairs(&numbers, &mut got);
        let of =
            |i: usize| f32::from_bits(if i.is_multiple_of(2) { got[i / 2] << 16 } else { got[i / 2] & 0xffff_0000 });
        let expected = [1.0, -2.5, 1.0, 1.015_625, 0.0, f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, 0.100_097_656];
        for (i, expected) in expected.into_iter().enumerate() {
            assert!((of(i) - expected).abs() < 1e-39 || of(i) == expected, "{i}: {} for {expected}", of(i));
        }
        assert_eq!(got[4] >> 16, 0);
        for bits in [0x7fff_ffff, 0x7f80_0001, 0xff80_0001, 0xffff_ffff] {
            pairs(&[f32::from_bits(bits)], &mut got);
            assert!(f32::from_bits(got[0] << 16).is_nan());
        }
    }
}
