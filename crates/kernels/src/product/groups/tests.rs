use super::*;
use crate::level::Level;
use crate::product::tests::draw;

/// Groups in memory.
struct Matrix {
    groups: Vec<Group>,
    columns: usize,
}

impl Matrix {
    fn draw(rows: usize, columns: usize, seed: u64) -> Self {
        let count = rows * columns / GROUP;
        let (scales, floors) = (draw(count, seed), draw(count, seed + 1));
        let numbers = draw(rows * columns, seed + 2);
        let groups = numbers.as_chunks::<GROUP>().0.iter().enumerate().map(|(i, numbers)| Group {
            numbers: numbers.map(|x| (x * 64.0).clamp(-128.0, 127.0) as i8),
            scale: scales[i],
            floor: floors[i] * 20.0,
        });
        Self { groups: groups.collect(), columns }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        let group = &self.groups[(row * self.columns + column) / GROUP];
        f64::from(group.scale) * f64::from(group.numbers[column % GROUP]) + f64::from(group.floor)
    }
}

impl Rows for Matrix {
    fn rows(&self) -> usize {
        self.groups.len() * GROUP / self.columns
    }
    fn columns(&self) -> usize {
        self.columns
    }
    fn read(&self, row: usize, first: usize, to: &mut [f32]) {
        to.iter_mut().enumerate().for_each(|(i, to)| *to = self.at(row, first + i) as f32);
    }
}

impl GroupRows for Matrix {
    fn groups(&self, row: usize, first: usize, to: &mut [Group]) {
        to.copy_from_slice(&self.groups[row * self.columns / GROUP + first..][..to.len()]);
    }
}

/// Every tile that this machine has.
fn tiles() -> &'static [&'static Tile] {
    Tile::of_machine(Level::of_machine())
}

/// x as it is after rounding, by the definition.
fn rounded(x: &[f32]) -> Vec<f64> {
    let group = |x: &[f32]| {
        let scale = x.iter().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0;
        x.iter()
            .map(move |x| if scale > 0.0 { f64::from((x / scale).round()) * f64::from(scale) } else { 0.0 })
            .collect()
    };
    x.chunks(GROUP).flat_map(|x| -> Vec<f64> { group(x) }).collect()
}

#[test]
fn sums_of_any_size_are_those_of_rounded_numbers() {
    for (n, rows, columns) in [(5, 1, 32), (13, 33, 64), (7, 70, 288), (100, 40, 512), (25, 200, 1056)] {
        let w = Matrix::draw(rows, columns, 3);
        let x = draw(n * columns, 9);
        let exact = rounded(&x);
        for tile in tiles() {
            let mut got = vec![f32::NAN; n * rows];
            product_by(tile, &x, &w, &Finish::default(), &mut got);
            for (i, got) in got.iter().enumerate() {
                let (row, of) = (i / rows, i % rows);
                let terms = (0..columns).map(|c| exact[row * columns + c] * w.at(of, c));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
                // a number that lies between two whole ones may go either way
                let far = (f64::from(*got) - sum).abs();
                assert!(far <= 2e-4 * size + 1e-6, "{n} {rows} {columns} {i}: {got} for {sum}, {} wide", tile.columns);
            }
        }
    }
}

/// Rounding moves a product by far less than the product is large.
#[test]
fn what_rounding_costs_is_small() {
    let (n, rows, columns) = (48, 64, 3072);
    let (x, w) = (draw(n * columns, 1), Matrix::draw(rows, columns, 2));
    let w = Matrix { groups: w.groups.iter().map(|group| Group { floor: 0.0, ..*group }).collect(), columns };
    let (mut exact, mut got) = (vec![0.0; n * rows], vec![0.0; n * rows]);
    crate::product(&x, &w, &Finish::default(), &mut exact);
    group_product(&x, &w, &Finish::default(), &mut got);
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let far = norm(&mut exact.iter().zip(&got).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
    assert!(far > 1e-4 && far < 8e-3, "{far}");
}

#[test]
fn numbers_that_are_not_finite_are_not_hidden_and_zeros_stay() {
    let w = Matrix::draw(3, 64, 5);
    for tile in tiles() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = draw(8 * 64, 4);
            x[64 + 40] = bad;
            x[3 * 64..4 * 64].fill(0.0);
            x[4 * 64..4 * 64 + 32].fill(1e-44);
            let mut got = vec![0.0; 8 * 3];
            product_by(tile, &x, &w, &Finish::default(), &mut got);
            assert!(got[3..6].iter().all(|x| !x.is_finite()), "{got:?}");
            assert!(got[..3].iter().chain(&got[6..]).all(|x| x.is_finite()), "{got:?}");
            assert_eq!(got[9..12], [0.0; 3]);
        }
    }
}

/// Whole numbers of any sign and size, at the ends of what fits.
#[test]
fn the_largest_numbers_do_not_overflow() {
    for number in [-128, 127] {
        let w = Matrix { groups: vec![Group { numbers: [number; GROUP], scale: 1.0, floor: 0.0 }; 8], columns: 256 };
        for sign in [-1.0, 1.0] {
            for tile in tiles() {
                let mut got = vec![0.0; 5];
                product_by(tile, &[sign * 127.0; 5 * 256], &w, &Finish::default(), &mut got);
                assert_eq!(got, [sign * 127.0 * f32::from(number) * 256.0; 5]);
            }
        }
    }
}

#[test]
fn a_row_of_x_gives_the_same_bits_in_any_company() {
    let w = Matrix::draw(50, 320, 6);
    let x = draw(40 * 320, 7);
    for tile in tiles() {
        let (mut all, mut some) = (vec![0.0; 40 * 50], vec![0.0; 7 * 50]);
        product_by(tile, &x, &w, &Finish::default(), &mut all);
        product_by(tile, &x[11 * 320..18 * 320], &w, &Finish::default(), &mut some);
        assert_eq!(all[11 * 50..18 * 50], some);
    }
}
