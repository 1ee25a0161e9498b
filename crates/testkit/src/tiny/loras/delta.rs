//! A random change of one of the publisher's matrices, which every dialect can say exactly.

use scumble_engine::families::names::Original;
use scumble_engine::rng::Generator;
use scumble_engine::{DType, Device, Result, Tensor};

/// kron(w1, w2a · w2b); row blocks of w1 belong to the modules that diffusers makes of the matrix.
pub(super) struct Delta {
    /// The publisher's name of the module.
    pub(super) name: String,
    /// Diffusers' modules and their rows.
    pub(super) parts: Vec<(String, usize)>,
    pub(super) swapped: bool,
    pub(super) rank: usize,
    pub(super) w1: Tensor,
    pub(super) w2a: Tensor,
    pub(super) w2b: Tensor,
    /// Rows of w2.
    unit: usize,
}

impl Delta {
    /// Of the matrix `name`, of its first `parts`.
    pub(super) fn draw(
        name: &str,
        original: &Original,
        parts: usize,
        rank: usize,
        generator: &mut Generator,
    ) -> Result<Self> {
        let module = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_owned();
        let parts: Vec<(String, usize)> =
            original.parts.iter().take(parts).map(|part| (module(&part.name), part.rows)).collect();
        let rows: usize = parts.iter().map(|(_, rows)| rows).sum();
        let common = parts.iter().fold(0, |common, (_, rows)| gcd(common, *rows));
        let unit = if common.is_multiple_of(2) { common / 2 } else { common };
        let columns = original.shape[1];
        let across = if columns.is_multiple_of(2) { 2 } else { 1 };
        let length = ((rank * columns / across) as f64).sqrt();
        Ok(Self {
            name: module(name),
            parts,
            swapped: original.swapped,
            rank,
            w1: generator.noise(&[rows / unit, across])?,
            w2a: generator.noise(&[unit, rank])?,
            w2b: (generator.noise(&[rank, columns / across])? * (0.15 / length))?,
            unit,
        })
    }

    /// Diffusers' modules, and their rows of w1.
    pub(super) fn pieces(&self) -> Result<Vec<(&str, Tensor)>> {
        let w1 = if self.swapped { swap(&self.w1)? } else { self.w1.clone() };
        let mut first = 0;
        let mut pieces = Vec::new();
        for (name, rows) in &self.parts {
            let count = rows / self.unit;
            pieces.push((name.as_str(), w1.narrow(0, first, count)?.contiguous()?));
            first += count;
        }
        Ok(pieces)
    }

    /// B and A, whose product is the change of these rows of w1.
    pub(super) fn factors(&self, w1: &Tensor) -> Result<(Tensor, Tensor)> {
        let across = w1.dim(1)?;
        Ok((kron(w1, &self.w2a)?, kron(&Tensor::eye(across, DType::F32, &Device::Cpu)?, &self.w2b)?))
    }

    pub(super) fn dense(&self, w1: &Tensor) -> Result<Tensor> {
        let (b, a) = self.factors(w1)?;
        Ok(b.matmul(&a)?)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Halves exchanged.
pub(super) fn swap(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(0)? / 2;
    Ok(Tensor::cat(&[x.narrow(0, half, half)?, x.narrow(0, 0, half)?], 0)?)
}

fn kron(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let ((a, b), (c, d)) = (left.dims2()?, right.dims2()?);
    let product = left.reshape((a, 1, b, 1))?.broadcast_mul(&right.reshape((1, c, 1, d))?)?;
    Ok(product.reshape((a * c, b * d))?)
}
