//! What the weights of a model take in the number type that its owner names, or else in their own.

use scumble_api::published::gigabytes;
use scumble_engine::weights::{Checkpoint, Precision};
use scumble_engine::{DType, families};

use super::Model;
use crate::memory;
use crate::runner::RunError;

/// How a model fits into memory.
pub(super) struct Width {
    pub(super) precision: Precision,
    /// What its weights take.
    pub(super) bytes: u64,
    /// What of that its text encoders take.
    pub(super) encoders: u64,
}

/// Where nobody names a type, each file keeps its own, which loses nothing.
///
/// # Errors
/// A checkpoint that cannot be opened, or that is too large for the budget: with figures, and with what would fit.
pub(super) fn choose(model: &Model, budget: Option<u64>) -> Result<Width, RunError> {
    let checkpoint = Checkpoint::open(model.source.clone())?;
    let with = |dtype: Option<DType>| -> Result<Width, RunError> {
        let precision = Precision { dtype, ..model.precision.clone() };
        let families::Footprint { bytes, encoders } = families::footprint(&checkpoint, &precision)?;
        Ok(Width { precision, bytes, encoders })
    };
    let width = with(model.precision.dtype)?;
    match budget {
        Some(budget) if width.bytes > budget => Err(too_large(&width, &with(Some(DType::BF16))?, budget)),
        _ => Ok(width),
    }
}

/// `half` is the same model in bfloat16.
fn too_large(width: &Width, half: &Width, budget: u64) -> RunError {
    let dtype = width.precision.dtype.map_or("the number type of its files", |dtype| dtype.as_str());
    let advice = match half.bytes <= budget {
        true => format!("In bfloat16 they take {}: set dtype = \"bfloat16\" for it", gigabytes(half.bytes)),
        false => format!(
            "Even in bfloat16 they take {}: give the worker more ([worker] memory), or the endpoint smaller weights",
            gigabytes(half.bytes)
        ),
    };
    RunError::Unavailable(format!(
        "This endpoint's weights take {} of memory in {dtype}, and weights may take {} here. {advice}",
        gigabytes(width.bytes),
        gigabytes(budget)
    ))
}

/// The type that [`Local`](super::Local) computes a model in, where the owner gives models so much memory, or a share of what
/// the machine has.
///
/// # Errors
/// A checkpoint that cannot be opened, or that is too large.
pub fn precision(model: &Model, memory: Option<u64>) -> Result<Precision, RunError> {
    let (budget, _) = memory::of_device(&model.precision.device, memory);
    Ok(choose(model, budget)?.precision)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use scumble_engine::Device;
    use scumble_engine::weights::Source;
    use scumble_testkit::tiny::{self, Variant};

    use super::*;

    #[test]
    fn the_owners_word_counts_and_else_the_files_own_type() {
        let wide = tiny::of(Variant::Sd35).dtype(DType::F32).tempdir();
        let half = tiny::of(Variant::Sd35).dtype(DType::BF16).tempdir();
        let of = |folder: &std::path::Path, dtype, budget| {
            let precision = Precision { device: Device::Cpu, dtype };
            choose(&Model { source: Source::Folder(folder.into()), precision }, budget)
        };
        let own = of(wide.path(), None, None).unwrap();
        assert!(own.precision.dtype.is_none() && own.encoders > 0 && own.encoders < own.bytes);
        let rounded = of(wide.path(), Some(DType::BF16), Some(1 << 40)).unwrap();
        assert_eq!(rounded.precision.dtype, Some(DType::BF16));
        assert!(rounded.bytes < own.bytes);
        // matrices in bfloat16 stay so, in whatever type they are computed
        let small = of(half.path(), Some(DType::F32), None).unwrap();
        assert_eq!((small.bytes, of(half.path(), None, None).unwrap().bytes), (rounded.bytes, rounded.bytes));
        // what does not fit is told before anything is read
        let said = |dtype, budget| of(wide.path(), dtype, Some(budget)).err().unwrap().to_string();
        assert!(said(None, rounded.bytes).contains("set dtype = \"bfloat16\""));
        let never = said(None, rounded.bytes - 1);
        assert!(never.contains("Even in bfloat16") && never.contains("[worker] memory"), "{never}");
    }
}
