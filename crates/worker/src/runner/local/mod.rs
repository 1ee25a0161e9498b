//! The engine in this process.

mod call;
mod paste;
mod residency;
mod width;

use std::sync::Arc;

use scumble_api::{Input, Problem};
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{Context, Control, Observer, Pixels, Stage, Step, Trace};

use super::{Drawn, Request, RunError, Runner, Timer, Watch, remarks};
use crate::picture::Picture;
pub use call::refusals;
pub(crate) use residency::Residency;
use residency::Slot;
pub use width::precision;

/// Weights and how to compute with them.
#[derive(Clone, Debug)]
pub struct Model {
    /// Where the weights are.
    pub source: Source,
    /// Device and number type.
    pub precision: Precision,
}

/// A model that is loaded at its first job and stays warm.
pub struct Local {
    model: Model,
    slot: Slot,
}

impl Local {
    /// Nothing is read yet.
    pub fn new(model: Model) -> Self {
        Self::among(&Residency::default(), model)
    }

    /// The same, sharing what is loaded with others on the same files.
    pub(crate) fn among(residency: &Residency, model: Model) -> Self {
        Self { slot: residency.slot(&model), model }
    }

    /// Draws on the calling thread: what `scumble run` does, and what [`Runner::run`] does on a thread of its own.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn draw(&self, request: &Request, watch: &dyn Watch, trace: Option<&Trace>) -> Result<Drawn, RunError> {
        let observer = Bridge { watch, timer: Timer::default() };
        paste::check(request)?;
        let call = call::call(request, watch)?;
        let announce = || observer.stage(Stage::Load).check().map_err(RunError::from);
        let pipeline = self.slot.pipeline(request.endpoint.pipeline(), &self.model, announce)?;
        if let Some(said) = remarks::swapped_guidance(request.endpoint, &self.model.source) {
            watch.warn(&said);
        }
        remarks::unknown_words(request, &pipeline.unknown_words(&request.input.prompt)?, watch);
        let pixels = pipeline.generate(&call, &Context { observer: &observer, trace })?;
        let pixels = paste::finished(pixels, request, &call);
        let encode = |p: &Pixels| Picture::encode(p, request.input.format).map_err(|e| RunError::Failed(e.to_string()));
        let pictures = pixels.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Drawn { pictures, timings: observer.timer.finish(), ..Drawn::default() })
    }
}

#[async_trait::async_trait]
impl Runner for Local {
    fn loads_adapters(&self) -> bool {
        true
    }

    fn refuses(&self, input: &Input) -> Vec<Problem> {
        call::refusals(input)
    }

    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let this = Self { model: self.model.clone(), slot: self.slot.clone() };
        let task = tokio::task::spawn_blocking(move || this.draw(&request, &*watch, None));
        task.await.unwrap_or_else(|e| Err(RunError::Failed(format!("the engine stopped unexpectedly: {e}"))))
    }
}

/// Lets a watch observe the engine.
struct Bridge<'a> {
    watch: &'a dyn Watch,
    timer: Timer,
}

impl Bridge<'_> {
    fn control(&self) -> Control {
        if self.watch.cancelled() { Control::Cancel } else { Control::Continue }
    }
}

impl Observer for Bridge<'_> {
    fn stage(&self, stage: Stage) -> Control {
        self.timer.begin(stage);
        self.watch.stage(stage);
        self.control()
    }

    fn step(&self, step: &Step<'_>) -> Control {
        self.watch.step(step.done, step.total, &|| step.preview().ok());
        self.control()
    }

    fn ask(&self) -> Control {
        self.control()
    }

    fn remark(&self, sentence: &str) {
        self.watch.log(sentence);
    }

    fn warn(&self, sentence: &str) {
        self.watch.warn(sentence);
    }
}
