//! Money, in whole millionths of a dollar, so that sums are exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

/// An amount of US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u64);

impl Cost {
    /// From dollars; what is no amount is nothing.
    pub fn from_usd(usd: f64) -> Self {
        // `as` ends at the limits of the type and makes nothing of NaN
        Self((usd * 1e6).round().max(0.0) as u64)
    }

    /// From millionths of a dollar.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// In millionths of a dollar.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// In dollars.
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// So many times as much.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(count)))
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Cost {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact() {
        let total: Cost = std::iter::repeat_n(Cost::from_usd(0.1), 10).sum();
        assert_eq!((total, total.usd()), (Cost::from_usd(1.0), 1.0));
        assert_eq!(Cost::from_usd(0.06).times(3).to_string(), "$0.180000");
        assert_eq!((Cost::from_usd(f64::NAN), Cost::from_usd(-1.0)), (Cost::default(), Cost::default()));
    }
}
