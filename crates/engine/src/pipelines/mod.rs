//! From parameters to pixels, one file per family.

mod flux;

use candle_core::Device;

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

/// A device by its name in configurations: `cpu`, `cuda:0`, `metal`.
///
/// # Errors
/// [`Error::Parameter`] for a name that means nothing, or a device that this build does not reach.
pub fn device(name: &str) -> Result<Device> {
    let refuse = |problem: String| Error::Parameter { name: "device", problem };
    match name.split_once(':').unwrap_or((name, "0")) {
        ("cpu", "0") => Ok(Device::Cpu),
        (kind @ ("cuda" | "metal"), index) => {
            let index = index.parse().map_err(|_| refuse(format!("'{name}' has no device number")))?;
            let device = if kind == "cuda" { Device::new_cuda(index) } else { Device::new_metal(index) };
            device.map_err(|e| refuse(format!("'{name}' cannot be used: {e}")))
        }
        _ => Err(refuse(format!("'{name}' is unknown; use cpu, cuda:0 or metal"))),
    }
}
