//! The number type that a model is computed in where its owner names none, and what its weights take in it.

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

/// On a CPU float32 is the fastest type, since others are widened for every product: it is chosen where the whole model fits
/// into the budget in it. Elsewhere, and where it does not fit, each file keeps its own type.
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
    let fits = |width: &Width| budget.is_none_or(|budget| width.bytes <= budget);
    if model.precision.dtype.is_none() && model.precision.device.is_cpu() && budget.is_some() {
        let widest = with(Some(DType::F32))?;
        if fits(&widest) {
            return Ok(widest);
        }
    }
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
    Ok(choose(model, memory::for_weights(memory))?.precision)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use scumble_engine::Device;
    use scumble_engine::weights::Source;
    use scumble_testkit::tiny::{self, Variant};

    use super::*;

    #[test]
    fn the_owners_word_counts_and_what_fits_is_float32() {
        let folder = tiny::of(Variant::Sd35).dtype(DType::BF16).tempdir();
        let of = |dtype, budget| {
            let precision = Precision { device: Device::Cpu, dtype };
            choose(&Model { source: Source::Folder(folder.path().into()), precision }, budget)
        };
        let wide = of(None, Some(1 << 40)).unwrap();
        assert_eq!(wide.precision.dtype, Some(DType::F32));
        assert!(wide.encoders > 0 && wide.encoders < wide.bytes);
        let half = of(Some(DType::BF16), Some(1 << 40)).unwrap();
        assert_eq!((half.precision.dtype, half.bytes), (Some(DType::BF16), wide.bytes / 2));
        // in its own type, as it does not fit in float32, or nobody knows whether it does
        let own = of(None, Some(wide.bytes - 1)).unwrap();
        assert_eq!((own.precision.dtype, own.bytes), (None, half.bytes));
        assert_eq!(of(None, None).unwrap().precision.dtype, None);
        // what does not fit is told before anything is read
        let said = |dtype, budget| of(dtype, Some(budget)).err().unwrap().to_string();
        assert!(said(Some(DType::F32), half.bytes).contains("set dtype = \"bfloat16\""));
        let never = said(None, half.bytes - 1);
        assert!(never.contains("Even in bfloat16") && never.contains("[worker] memory"), "{never}");
    }
}
