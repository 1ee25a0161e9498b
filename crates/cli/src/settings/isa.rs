//! `SCUMBLE_ISA`: the largest instruction set that kernels on the CPU may use.

use scumble_engine::{Level, use_at_most};

use crate::failure::Failure;

/// Reads the variable and does what it says.
///
/// # Errors
/// A name of no instruction set, or of one that this machine lacks.
pub(crate) fn instruction_set() -> Result<(), Failure> {
    let Some(name) = std::env::var_os("SCUMBLE_ISA").filter(|name| !name.is_empty()) else { return Ok(()) };
    let level = named(&name.to_string_lossy()).map_err(Failure::Usage)?;
    if use_at_most(level) == level {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "SCUMBLE_ISA is {}, and the largest instruction set of this machine is {}",
        level.name(),
        Level::of_machine().name()
    )))
}

fn named(name: &str) -> Result<Level, String> {
    Level::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| {
        let known = Level::ALL.map(Level::name).join(", ");
        format!("SCUMBLE_ISA is {name}; it can be {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_levels() {
        assert_eq!(named("avx2"), Ok(Level::Avx2));
        assert!(named("AVX-512").is_err_and(|said| said.contains("portable, avx2, avx512")));
    }
}
