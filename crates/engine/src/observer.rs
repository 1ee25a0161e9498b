//! Who watches a run, and may stop it.

use crate::error::{Error, Result};
use crate::pixels::Pixels;

/// What the engine is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Reading weights.
    Load,
    /// Prompt to embeddings.
    TextEncode,
    /// Noise to latents, step by step.
    Denoise,
    /// Latents to pixels.
    Decode,
}

impl Stage {
    /// All stages, in the order they come.
    pub const ALL: [Self; 4] = [Self::Load, Self::TextEncode, Self::Denoise, Self::Decode];

    /// The stage's name in `timings` and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::TextEncode => "text_encode",
            Self::Denoise => "denoise",
            Self::Decode => "decode",
        }
    }
}

/// What the observer wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop now and free everything.
    Cancel,
}

/// One denoising step that is done.
pub struct Step<'a> {
    /// Steps done, from 1.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    preview: &'a dyn Fn() -> Result<Pixels>,
}

impl<'a> Step<'a> {
    /// A step with a way to see where it leads.
    pub fn new(done: usize, total: usize, preview: &'a dyn Fn() -> Result<Pixels>) -> Self {
        Self { done, total, preview }
    }

    /// A small picture of where this step leads; costs a fraction of a step, and only when asked for.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn preview(&self) -> Result<Pixels> {
        (self.preview)()
    }
}

/// Watches a run. Called on the thread that runs the model: be quick.
pub trait Observer {
    /// A stage begins.
    fn stage(&self, stage: Stage) -> Control {
        let _ = stage;
        Control::Continue
    }

    /// A denoising step is done.
    fn step(&self, step: &Step<'_>) -> Control {
        let _ = step;
        Control::Continue
    }

    /// Whether to go on: asked between pieces of work that may take long and are no steps.
    fn ask(&self) -> Control {
        Control::Continue
    }

    /// What the prompts of this call became is asked for; `known` says whether it was kept from a call before.
    fn prompts(&self, known: bool) {
        let _ = known;
    }

    /// Something that the caller should know of this run, in one sentence: such as a tensor of an adapter that the model
    /// has no place for.
    fn remark(&self, sentence: &str) {
        let _ = sentence;
    }

    /// The same, of something that the caller should look at: where it differs from what was asked.
    fn warn(&self, sentence: &str) {
        self.remark(sentence);
    }
}

/// Hears how the reading of weights goes on, and may stop it. Called on the thread that reads: be quick.
pub trait Reading: Send + Sync {
    /// So many bytes of weights have come into memory since the last time.
    fn read(&self, bytes: u64) -> Control;
}

/// Watches nothing.
pub struct Unobserved;

impl Observer for Unobserved {}

impl Control {
    /// [`Error::Cancelled`] where the answer was to cancel, for `?`.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(self) -> Result<()> {
        match self {
            Self::Continue => Ok(()),
            Self::Cancel => Err(Error::Cancelled),
        }
    }
}
