//! From parameters to pixels, one file per family.

mod flux;

use candle_core::Device;
use candle_core::utils::{cuda_is_available, metal_is_available};

use crate::checkpoint::{Checkpoint, Precision, Source};
use crate::error::{Error, Result};
use crate::observer::Observer;
use crate::params::Params;
use crate::pixels::Pixels;
use crate::trace::Trace;

/// Pipeline classes that this engine runs, by the name in `model_index.json`.
pub const CLASSES: &[&str] = &["FluxPipeline"];

/// Who watches a run and what is written down.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Asked after every step.
    pub observer: &'a dyn Observer,
    /// Collects intermediate tensors where given.
    pub trace: Option<&'a Trace>,
}

/// A loaded model, ready for any number of calls; calls share nothing but the weights.
pub trait Pipeline: Send + Sync {
    /// Draws pictures.
    ///
    /// # Errors
    /// [`Error::Parameter`] for values that this checkpoint cannot follow, [`Error::Cancelled`] where the observer
    /// said so, [`Error::Tensor`] where a device gave up.
    fn generate(&self, params: &Params, context: &Context<'_>) -> Result<Vec<Pixels>>;

    /// Sides are rounded down to a multiple of this many pixels.
    fn size_multiple(&self) -> usize;

    /// The words of a prompt that the model's own vocabulary lacks: it cannot draw what it cannot read.
    ///
    /// # Errors
    /// A text that its tokenizer cannot encode.
    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>>;
}

/// Opens a checkpoint and loads the pipeline that its `model_index.json` names.
///
/// # Errors
/// Everything that can be wrong with a checkpoint; see [`Error::is_checkpoint`].
pub fn open(source: Source, precision: &Precision) -> Result<Box<dyn Pipeline>> {
    let checkpoint = Checkpoint::open(source)?;
    match checkpoint.class() {
        "FluxPipeline" => Ok(Box::new(flux::Flux::load(&checkpoint, precision)?)),
        class => Err(Error::UnknownPipeline { folder: checkpoint.root(), class: class.into(), known: CLASSES }),
    }
}

/// Whether [`open`] could load a checkpoint: reads everything but the tensors themselves, which takes a moment.
///
/// # Errors
/// What [`open`] would say of the folder, of its configurations, and of files that are missing or cut short.
pub fn examine(source: Source) -> Result<()> {
    let checkpoint = Checkpoint::open(source)?;
    match checkpoint.class() {
        "FluxPipeline" => flux::examine(&checkpoint),
        class => Err(Error::UnknownPipeline { folder: checkpoint.root(), class: class.into(), known: CLASSES }),
    }
}

/// The kinds of devices that this build can compute on, as [`device`] names them.
pub fn devices() -> Vec<&'static str> {
    let known = [("cpu", true), ("cuda:0", cuda_is_available()), ("metal", metal_is_available())];
    known.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

/// A device by its name in configurations: one of [`devices`], with the number of the card behind the colon.
///
/// # Errors
/// [`Error::Parameter`] for a name that means nothing, or a device that this build does not reach.
pub fn device(name: &str) -> Result<Device> {
    let refuse = |problem: String| Error::Parameter { name: "device", problem };
    let built = || devices().join(" or ");
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", "0") => Ok(Device::Cpu),
        (kind @ ("cuda" | "metal"), _) if !devices().iter().any(|built| built.starts_with(kind)) => {
            Err(refuse(format!("'{name}' is not in this build of Scumble, which computes on: {}", built())))
        }
        (kind @ ("cuda" | "metal"), index) => {
            let index = index.parse().map_err(|_| refuse(format!("'{name}' has no device number")))?;
            let device = if kind == "cuda" { Device::new_cuda(index) } else { Device::new_metal(index) };
            device.map_err(|e| refuse(format!("'{name}' cannot be used: {e}")))
        }
        _ => Err(refuse(format!("'{name}' is unknown; this build computes on: {}", built()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_on_offer_is_known_and_no_other() {
        assert!(devices().contains(&"cpu") && device("cpu").is_ok());
        for name in ["cuda:0", "metal"].into_iter().filter(|name| !devices().contains(name)) {
            let said = device(name).expect_err("not in this build").to_string();
            assert!(said.contains(name) && said.contains("not in this build") && said.contains("cpu"), "{said}");
        }
        assert!(device("tpu").expect_err("no device").to_string().contains("unknown"));
    }
}
