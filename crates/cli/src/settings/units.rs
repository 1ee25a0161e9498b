//! Numbers with a meaning. A plain number is in the unit that the setting's name ends in; text names its own.

use std::fmt::Display;
use std::time::Duration;

use serde::Deserialize;

use crate::failure::Failure;

/// `15`, `0.5`, `"15 s"`, `"50 MiB"`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number, or text such as \"30 min\" or \"50 MiB\"")]
pub(super) enum Quantity {
    Number(f64),
    Text(String),
}

const TIMES: &[(&str, f64)] = &[("s", 1.0), ("min", 60.0), ("h", 3600.0), ("d", 86_400.0), ("ms", 0.001)];
const SIZES: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1024.0 * 1024.0),
    ("GiB", 1024.0 * 1024.0 * 1024.0),
    ("TiB", 1024.0 * 1024.0 * 1024.0 * 1024.0),
];
/// Ten years. Beyond lies a mistake, and somewhere beyond that an overflow.
const LONGEST_S: f64 = 10.0 * 365.0 * 86_400.0;
/// A petabyte.
const LARGEST: f64 = 1e15;

/// A span of time above zero.
pub(super) fn seconds(name: &str, value: Option<&Quantity>) -> Result<Option<Duration>, Failure> {
    let Some(value) = value else { return Ok(None) };
    match value.in_units(TIMES) {
        Some(seconds) if (0.001..=LONGEST_S).contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        _ => Err(Failure::Usage(format!(
            "{name}: expected seconds above 0 and up to ten years, such as 30, 0.5, \"5 min\", \"2 h\" or \"7 d\"; got {value}"
        ))),
    }
}

/// A size above zero.
pub(super) fn bytes(name: &str, value: Option<&Quantity>) -> Result<Option<u64>, Failure> {
    let Some(value) = value else { return Ok(None) };
    match value.in_units(SIZES) {
        Some(bytes) if (1.0..=LARGEST).contains(&bytes) => Ok(Some(bytes as u64)),
        _ => Err(Failure::Usage(format!(
            "{name}: expected bytes above 0 and up to 1000 TB, such as 1048576, \"50 MB\" or \"2 GiB\" (B, kB, MB, GB, TB, KiB, \
             MiB, GiB, TiB); got {value}"
        ))),
    }
}

/// A count above zero.
pub(super) fn positive<T: Default + PartialOrd + Display>(name: &str, value: Option<T>) -> Result<Option<T>, Failure> {
    match value {
        Some(n) if n <= T::default() => Err(Failure::Usage(format!("{name} must be at least 1, got {n}"))),
        value => Ok(value),
    }
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Quantity {
    fn in_units(&self, units: &[(&str, f64)]) -> Option<f64> {
        let text = match self {
            Self::Number(number) => return Some(*number),
            Self::Text(text) => text.trim(),
        };
        let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let unit = unit.trim();
        let (_, factor) = units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit) || (unit.is_empty() && *name == units[0].0))?;
        Some(number.parse::<f64>().ok()? * factor)
    }
}

impl Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_units_and_bounds() {
        let time = |text: &str| seconds("x", Some(&Quantity::Text(text.into()))).ok().flatten();
        assert_eq!(time("30"), Some(Duration::from_secs(30)));
        assert_eq!(time("1.5 min"), Some(Duration::from_secs(90)));
        assert_eq!(time("7d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(time("250 ms"), Some(Duration::from_millis(250)));
        for bad in ["", "0", "s", "-1", "5 weeks", "1e9", "9999999 d", "1.2.3 s"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(seconds("x", Some(&Quantity::Number(bad))).is_err(), "{bad}");
            assert!(bytes("x", Some(&Quantity::Number(bad))).is_err(), "{bad}");
        }
        let size = |text: &str| bytes("x", Some(&Quantity::Text(text.into()))).ok().flatten();
        assert_eq!(size("50 MB"), Some(50_000_000));
        assert_eq!(size("2 GiB"), Some(2 << 30));
        assert_eq!((size("1 TB"), size("5mb")), (Some(1_000_000_000_000), Some(5_000_000)));
        assert_eq!(size("1001 TB"), None);
        assert_eq!(size("10 s"), None);
        assert!(positive("x", Some(0)).is_err() && positive("x", Some(-3)).is_err());
        assert_eq!(positive("x", Some(1)).ok(), Some(Some(1)));
    }
}
