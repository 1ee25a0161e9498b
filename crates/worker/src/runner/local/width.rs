//! The number type that a model is computed in where its owner names none.

use scumble_engine::weights::{Checkpoint, Precision};
use scumble_engine::{DType, Error, families};

use super::Model;
use crate::memory;

/// On a CPU float32 is the fastest type, since others are widened for every product: it is chosen where the whole model fits
/// into memory in it. Elsewhere, and where it does not fit, each file keeps its own type.
///
/// # Errors
/// A checkpoint that cannot be opened.
pub fn precision(model: &Model) -> Result<Precision, Error> {
    let precision = model.precision.clone();
    if precision.dtype.is_some() || !precision.device.is_cpu() {
        return Ok(precision);
    }
    let bytes = 4 * families::numbers(&Checkpoint::open(model.source.clone())?)?;
    Ok(Precision { dtype: memory::has_room(bytes, memory::total()).then_some(DType::F32), ..precision })
}

#[cfg(test)]
mod tests {
    use scumble_engine::Device;
    use scumble_engine::weights::Source;
    use scumble_testkit::tiny::{self, Variant};

    use super::*;

    #[test]
    fn weights_fit_where_they_leave_room() {
        assert!(memory::has_room(700, Some(1000)) && memory::has_room(0, Some(0)));
        assert!(!memory::has_room(701, Some(1000)) && !memory::has_room(1, None));
    }

    #[test]
    fn the_owners_word_counts_and_small_models_are_float32() {
        let folder = tiny::of(Variant::Sd35).dtype(DType::BF16).tempdir();
        let of = |dtype| {
            let precision = Precision { device: Device::Cpu, dtype };
            precision_of(&Model { source: Source::Folder(folder.path().into()), precision })
        };
        assert_eq!(of(Some(DType::BF16)), Some(DType::BF16));
        let expected = memory::total().map(|_| DType::F32);
        assert_eq!(of(None), expected, "a few megabytes fit");
    }

    fn precision_of(model: &Model) -> Option<DType> {
        precision(model).expect("a checkpoint").dtype
    }
}
