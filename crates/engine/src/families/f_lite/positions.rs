//! How places turn queries and keys: rows the first half of the angles, columns the second.

use candle_core::{D, DType, Device, Tensor};

use super::FLiteConfig;
use super::transformer::REGISTERS;
use crate::error::Result;
use crate::weights::Weights;

/// Rows and columns of the table that the model was made with: it knows no places beyond.
pub(super) const SIDE: usize = 512;

/// The angles of every place.
pub(super) struct Positions {
    /// Angles of a place: half the width of a head.
    angles: usize,
    base: f64,
    /// Cosines and sines, each `[SIDE, SIDE, angles]`, where the file has them: then they are what was trained with, with
    /// the rounding of the file's type.
    table: Option<(Tensor, Tensor)>,
}

impl Positions {
    pub(super) fn load(config: &FLiteConfig, w: &Weights) -> Result<Self> {
        let angles = config.attention().width / 2;
        let names = ["freqs_hw_cos", "freqs_hw_sin"];
        let table = || -> Result<_> {
            let [cos, sin] = names.map(|name| w.get((SIDE, SIDE, angles), name));
            Ok((cos?, sin?))
        };
        // one alone is an error
        let is_stored = names.iter().any(|name| w.has(name));
        Ok(Self { angles, base: config.base, table: is_stored.then(table).transpose()? })
    }

    /// The turns of the registers, which have no place, and of a grid of so many rows and columns after them.
    pub(super) fn of(&self, (rows, columns): (usize, usize), device: &Device) -> Result<Turns> {
        let (cos, sin) = match &self.table {
            Some((cos, sin)) => (self.cut(cos, rows, columns)?, self.cut(sin, rows, columns)?),
            None => self.computed(rows, columns, device)?,
        };
        let still = Tensor::zeros((REGISTERS, self.angles), DType::F32, device)?;
        let (cos, sin) = (Tensor::cat(&[&(&still + 1.0)?, &cos], 0)?, Tensor::cat(&[&still, &sin], 0)?);
        Ok(Turns { cos, sin })
    }

    fn cut(&self, table: &Tensor, rows: usize, columns: usize) -> Result<Tensor> {
        let grid = table.narrow(0, 0, rows)?.narrow(1, 0, columns)?;
        Ok(grid.reshape((rows * columns, self.angles))?.to_dtype(DType::F32)?)
    }

    /// Angles in float32, as the reference takes them.
    fn computed(&self, rows: usize, columns: usize, device: &Device) -> Result<(Tensor, Tensor)> {
        let exponent = |i: usize| -((2 * i) as f64) / self.angles as f64;
        let frequencies: Vec<f32> = (0..self.angles / 2).map(|i| self.base.powf(exponent(i)) as f32).collect();
        let mut angles = Vec::with_capacity(rows * columns * self.angles);
        for place in 0..rows * columns {
            for position in [place / columns, place % columns] {
                angles.extend(frequencies.iter().map(|frequency| f64::from(position as f32 * frequency)));
            }
        }
        let tensor = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| of(*angle) as f32).collect();
            Tensor::from_vec(values, (rows * columns, self.angles), device)
        };
        Ok((tensor(f64::cos)?, tensor(f64::sin)?))
    }
}

/// Cosines and sines of a sequence, each `[tokens, width / 2]`, float32.
pub(super) struct Turns {
    cos: Tensor,
    sin: Tensor,
}

impl Turns {
    /// Turns `[batch, heads, tokens, width]` backwards, the first half of a head against the second, in float32.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let half = x.dim(D::Minus1)? / 2;
        let (a, b) = (wide.narrow(D::Minus1, 0, half)?, wide.narrow(D::Minus1, half, half)?);
        let first = (a.broadcast_mul(&self.cos)? + b.broadcast_mul(&self.sin)?)?;
        let second = (b.broadcast_mul(&self.cos)? - a.broadcast_mul(&self.sin)?)?;
        Ok(Tensor::cat(&[first, second], D::Minus1)?.to_dtype(x.dtype())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions() -> Positions {
        Positions { angles: 4, base: 10000.0, table: None }
    }

    #[test]
    fn registers_stay_and_places_turn_backwards() -> Result<()> {
        let turns = positions().of((2, 3), &Device::Cpu)?;
        let x = Tensor::ones((1, 1, REGISTERS + 6, 8), DType::F32, &Device::Cpu)?;
        let turned = turns.apply(&x)?.squeeze(0)?.squeeze(0)?.to_vec2::<f32>()?;
        assert!(turned[..=REGISTERS].iter().all(|token| *token == [1.0; 8]), "registers and the first place stay");
        // row 1, column 2: angles 1, 0.01 and 2, 0.02
        let angles = [1f32, 0.01, 2.0, 0.02];
        for (i, angle) in angles.into_iter().enumerate() {
            let token = &turned[REGISTERS + 5];
            assert!((token[i] - (angle.cos() + angle.sin())).abs() < 1e-6);
            assert!((token[i + 4] - (angle.cos() - angle.sin())).abs() < 1e-6);
        }
        Ok(())
    }

    #[test]
    fn a_stored_table_is_cut_to_the_grid() -> Result<()> {
        let stored = positions().computed(SIDE, 7, &Device::Cpu)?;
        let whole = |t: &Tensor| t.reshape((SIDE, 7, 4));
        let stored = Positions { table: Some((whole(&stored.0)?, whole(&stored.1)?)), ..positions() };
        let (a, b) = (stored.of((5, 6), &Device::Cpu)?, positions().of((5, 6), &Device::Cpu)?);
        assert_eq!(a.cos.to_vec2::<f32>()?, b.cos.to_vec2::<f32>()?);
        assert_eq!(a.sin.to_vec2::<f32>()?, b.sin.to_vec2::<f32>()?);
        assert!(stored.of((SIDE + 1, 2), &Device::Cpu).is_err());
        Ok(())
    }
}
