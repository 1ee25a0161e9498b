//! The engine in this process.

use std::sync::{Arc, Mutex, PoisonError};

use scumble_api::Family;
use scumble_engine::checkpoint::{Precision, Source};
use scumble_engine::pipelines::{self, Context, Pipeline};
use scumble_engine::{Control, Observer, Params, Pixels, Stage, Step, Trace};

use super::{Drawn, Request, RunError, Runner, Timer, Watch, remarks};
use crate::picture::Picture;

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
    loaded: Arc<Mutex<Option<Arc<dyn Pipeline>>>>,
}

impl Local {
    /// Nothing is read yet.
    pub fn new(model: Model) -> Self {
        Self { model, loaded: Arc::default() }
    }

    /// Draws on the calling thread: what `scumble run` does, and what [`Runner::run`] does on a thread of its own.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn draw(&self, request: &Request, watch: &dyn Watch, trace: Option<&Trace>) -> Result<Drawn, RunError> {
        let observer = Bridge { watch, timer: Timer::default() };
        observer.stage(Stage::Load).check()?;
        let pipeline = self.pipeline()?;
        remarks::unchecked(request, watch);
        remarks::unknown_words(request, &pipeline.unknown_words(&request.input.prompt)?, watch);
        let pixels = pipeline.generate(&params(request), &Context { observer: &observer, trace })?;
        let encode = |p: &Pixels| Picture::encode(p, request.input.format).map_err(|e| RunError::Failed(e.to_string()));
        let pictures = pixels.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Drawn { pictures, timings: observer.timer.finish(), ..Drawn::default() })
    }

    /// Loads once, however many jobs wait for it.
    fn pipeline(&self) -> Result<Arc<dyn Pipeline>, RunError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = &*loaded {
            return Ok(pipeline.clone());
        }
        let pipeline: Arc<dyn Pipeline> = pipelines::open(self.model.source.clone(), &self.model.precision)?.into();
        *loaded = Some(pipeline.clone());
        Ok(pipeline)
    }
}

#[async_trait::async_trait]
impl Runner for Local {
    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let this = Self { model: self.model.clone(), loaded: self.loaded.clone() };
        let task = tokio::task::spawn_blocking(move || this.draw(&request, &*watch, None));
        task.await.unwrap_or_else(|e| Err(RunError::Failed(format!("the engine stopped unexpectedly: {e}"))))
    }
}

fn params(request: &Request) -> Params {
    let input = &request.input;
    let scale = input.guidance.unwrap_or(1.0);
    // the starter was not distilled: its guidance is the true one, against the empty prompt
    let (guidance, true_cfg) = match request.endpoint.family {
        Family::Starter => (1.0, scale),
        _ => (scale, 1.0),
    };
    let size = input.size.pixels(None);
    Params {
        prompt: input.prompt.clone(),
        width: size.width as usize,
        height: size.height as usize,
        steps: input.steps as usize,
        guidance,
        true_cfg,
        seed: request.seed,
        images: input.images as usize,
        max_sequence_length: input.max_sequence_length.map(|n| n as usize),
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
}
