//! From a call to pixels, one folder per family of models.

pub mod auraflow;
pub mod f_lite;
pub mod flux;
mod footprint;
mod guided;
pub mod hidream;
pub(crate) mod layouts;
pub mod names;
pub mod omnigen2;
mod quantise;
pub mod sd35;
mod streams;

use std::sync::Arc;

use candle_core::Device;

use crate::adapters;
use crate::call::{Call, Sizes};
use crate::error::{Error, Result};
use crate::observer::{Observer, Reading};
use crate::pixels::Pixels;
use crate::trace::Trace;
use crate::weights::{Checkpoint, Evict, Precision, Source};

pub use footprint::{Footprint, footprint};
pub use guided::is_guided;
pub use quantise::{Quantised, Target, Unwritten};

/// Every family that this engine runs: the one list.
pub const FAMILIES: &[Family] =
    &[flux::FAMILY, flux::FILL, sd35::FAMILY, auraflow::FAMILY, f_lite::FAMILY, hidream::FAMILY, omnigen2::FAMILY];

/// A family of models.
#[derive(Debug)]
pub struct Family {
    /// `_class_name` in `model_index.json`.
    pub class: &'static str,
    /// The fields of a call that it follows, as endpoints name them.
    pub accepts: &'static [&'static str],
    /// Steps where an endpoint does not let its callers choose: what diffusers takes.
    pub steps: usize,
    /// Guidance where an endpoint does not let its callers choose: what diffusers takes.
    pub guidance: f64,
    /// Loads a checkpoint of it.
    open: fn(&Checkpoint, &Precision) -> Result<Box<dyn Pipeline>>,
}

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
    /// [`Error::Parameter`] for values that this checkpoint cannot follow, [`Error::Adapter`] for adapters that do not fit
    /// it, [`Error::Cancelled`] where the observer
    /// said so, [`Error::NotFinite`] where numbers overflowed, [`Error::Tensor`] where a device gave up.
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>>;

    /// Which sizes it draws.
    fn sizes(&self) -> Sizes;

    /// Bytes that a call takes beside the weights, at the least: what its pictures are made of on their way. More than a
    /// device has would end the process, not the call.
    ///
    /// # Errors
    /// [`Error::Parameter`] for sizes that it does not draw.
    fn working(&self, call: &Call) -> Result<u64>;

    /// The words of a prompt that the model's own vocabulary lacks: it cannot draw what it cannot read.
    ///
    /// # Errors
    /// A text that its tokenizer cannot encode.
    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>>;

    /// Its text encoders, often half of its memory and idle while it draws: a memory budget may let them go between stages.
    /// None where they are not apart from the rest.
    fn encoders(&self) -> Option<&dyn Evict> {
        None
    }
}

/// Is told what a transformer's blocks make, by the names of golden files.
pub type Probe<'a> = &'a dyn Fn(&str, &candle_core::Tensor) -> Result<()>;

/// The family of a pipeline class.
pub fn find(class: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.class == class)
}

/// Opens a checkpoint and loads the pipeline that its `model_index.json` names.
///
/// # Errors
/// Everything that can be wrong with a checkpoint; see [`Error::is_checkpoint`].
pub fn open(source: Source, precision: &Precision) -> Result<Box<dyn Pipeline>> {
    load(&Checkpoint::open(source)?, precision)
}

/// Opens a checkpoint that must be of this class, where one is named, while somebody hears how the reading goes on and may stop
/// it.
///
/// # Errors
/// As [`open`], [`Error::WrongPipeline`] for a checkpoint of another class, and [`Error::Cancelled`].
pub fn open_heard(
    class: Option<&str>,
    source: Source,
    precision: &Precision,
    reading: Arc<dyn Reading>,
) -> Result<Box<dyn Pipeline>> {
    load(&checked(Checkpoint::open(source)?, class)?.heard_by(reading), precision)
}

/// What would keep [`open`] from loading a checkpoint: reads everything but the tensors themselves, of which names, shapes
/// and types are looked at; all that are wrong are listed. With a class, what would keep [`open_heard`]. It takes a moment.
pub fn examine(class: Option<&str>, source: Source) -> Vec<Error> {
    let checkpoint = match Checkpoint::open(source).and_then(|checkpoint| checked(checkpoint, class)) {
        Ok(checkpoint) => checkpoint.examined(),
        Err(error) => return vec![error],
    };
    let loaded = load(&checkpoint, &Precision { device: Device::Cpu, dtype: None });
    let mut wrong = checkpoint.findings();
    wrong.extend(loaded.err());
    wrong
}

/// A checkpoint that is of this class, where one is asked for; or of one that nobody knows.
fn checked(checkpoint: Checkpoint, class: Option<&str>) -> Result<Checkpoint> {
    match (find(checkpoint.class()), class) {
        (Some(family), Some(wanted)) if family.class != wanted => {
            Err(Error::WrongPipeline { folder: checkpoint.root(), class: family.class, wanted: wanted.to_owned() })
        }
        _ => Ok(checkpoint),
    }
}

fn load(checkpoint: &Checkpoint, precision: &Precision) -> Result<Box<dyn Pipeline>> {
    match find(checkpoint.class()) {
        Some(family) => Ok(Box::new(Told((family.open)(checkpoint, precision)?))),
        None => {
            let known = FAMILIES.iter().map(|family| family.class).collect();
            Err(Error::UnknownPipeline { folder: checkpoint.root(), class: checkpoint.class().into(), known })
        }
    }
}

/// A pipeline that tells what a call's adapters do from what is wrong with the model.
struct Told(Box<dyn Pipeline>);

impl Pipeline for Told {
    fn generate(&self, call: &Call, context: &Context<'_>) -> Result<Vec<Pixels>> {
        self.0.generate(call, context).map_err(|error| adapters::suspected(error, call))
    }

    fn sizes(&self) -> Sizes {
        self.0.sizes()
    }

    fn working(&self, call: &Call) -> Result<u64> {
        self.0.working(call)
    }

    fn unknown_words(&self, prompt: &str) -> Result<Vec<String>> {
        self.0.unknown_words(prompt)
    }

    fn encoders(&self) -> Option<&dyn Evict> {
        self.0.encoders()
    }
}

impl<'a> Context<'a> {
    /// The trace, where this is the first step.
    pub(crate) fn first(&self, index: usize) -> Option<&'a Trace> {
        self.trace.filter(|_| index == 0)
    }
}
