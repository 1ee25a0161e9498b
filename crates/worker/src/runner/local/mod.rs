//! The engine in this process.

mod call;
mod lanes;
mod paste;
mod residency;
mod safety;
mod width;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use scumble_api::{Endpoint, Input, Problem};
use scumble_engine::weights::{Precision, Source};
use scumble_engine::{Context, Control, DType, Device, Observer, Pixels, Stage, Step, Trace, families};
use scumble_meters::{Cache, Lookup};

use super::{Drawn, Request, RunError, Runner, Timer, Watch, remarks};
use crate::picture::Picture;
pub use call::refusals;
use lanes::Lane;
pub(crate) use lanes::Lanes;
use residency::{InUse, Key, Loaded, Plan, Progress, Wanted};
pub use safety::{Flagged, SafetyConfig};
use tracing::Span;
use width::Width;
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
#[derive(Clone)]
pub struct Local {
    model: Model,
    key: Key,
    lanes: Arc<Lanes>,
    /// What looks at its pictures.
    safety: Option<Arc<SafetyConfig>>,
}

impl Local {
    /// Nothing is read yet.
    pub fn new(model: Model) -> Self {
        let lanes = Arc::new(Lanes::one(model.precision.device.clone()));
        Self::among(&lanes, model.source, model.precision.dtype)
    }

    /// The same, with this looking at its pictures.
    #[must_use]
    pub fn checked_by(self, safety: Option<Arc<SafetyConfig>>) -> Self {
        Self { safety, ..self }
    }

    /// The same on these devices, sharing what is loaded there with others on the same files.
    pub(crate) fn among(lanes: &Arc<Lanes>, source: Source, dtype: Option<DType>) -> Self {
        let key = Key { files: files(&source), dtype: format!("{dtype:?}") };
        // the lane has the device
        let precision = Precision { device: Device::Cpu, dtype };
        Self { model: Model { source, precision }, key, lanes: lanes.clone(), safety: None }
    }

    /// The model, loaded where it is not there yet.
    fn pipeline(
        &self,
        class: Option<&'static str>,
        lane: &Lane,
        watch: &dyn Watch,
        announce: &dyn Fn() -> Result<(), RunError>,
    ) -> Result<InUse, RunError> {
        let plan = || {
            let precision = Precision { device: lane.device.clone(), dtype: self.model.precision.dtype };
            let model = Model { source: self.model.source.clone(), precision };
            let Width { precision, bytes, encoders } = width::choose(&model, lane.residency.budget())?;
            let load = move |progress: Arc<Progress>| -> Result<Loaded, RunError> {
                Ok(Loaded::Pipeline(families::open_heard(class, model.source, &precision, progress)?.into()))
            };
            Ok(Plan { bytes, encoders, load: Box::new(load) })
        };
        lane.residency.model(&Wanted { key: &self.key, plan: &plan, watch, announce })
    }

    /// Draws on the calling thread: what `scumble run` does, and what [`Runner::run`] does on a thread of its own.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn draw(&self, request: &Request, watch: &dyn Watch, trace: Option<&Trace>) -> Result<Drawn, RunError> {
        let safety = safety::wanted(self.safety.as_deref(), request);
        let hides = safety.is_some_and(SafetyConfig::hides);
        let observer = Bridge { watch, timer: Timer::default(), span: Mutex::default(), hides };
        paste::check(request)?;
        let call = call::call(request, watch)?;
        let announce = || observer.stage(Stage::Load).check().map_err(RunError::from);
        let lane = self.lanes.place(&self.key);
        let model = self.pipeline(request.endpoint.pipeline(), &lane, watch, &announce)?;
        let pipeline = model.pipeline()?;
        if let Some(said) = remarks::swapped_guidance(request.endpoint, &self.model.source) {
            watch.warn(&said);
        }
        remarks::unknown_words(request, &pipeline.unknown_words(&request.input.prompt)?, watch);
        let work = lane.residency.work(&model, pipeline.working(&call)?, watch)?;
        let pixels = pipeline.generate(&call, &Context { observer: &observer, trace });
        let pixels = pixels.inspect_err(|error| lane.after(error))?;
        observer.span.lock().unwrap_or_else(PoisonError::into_inner).take();
        // nobody holds one thing while waiting for the room of another
        drop((work, model));
        let mut pixels = paste::finished(pixels, request, &call);
        let (mut timings, mut flags) = (observer.timer.finish(), None);
        if let Some(safety) = safety {
            let checked = safety.check(pixels, &lane, watch, &Context { observer: &observer, trace })?;
            timings.insert("check".to_owned(), checked.seconds);
            (pixels, flags) = (checked.pictures, Some(checked.flags));
        }
        let encode = |p: &Pixels| Picture::encode(p, request.input.format).map_err(|e| RunError::Failed(e.to_string()));
        let pictures = pixels.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Drawn { pictures, timings, flags, ..Drawn::default() })
    }
}

#[async_trait::async_trait]
impl Runner for Local {
    fn loads_adapters(&self) -> bool {
        true
    }

    fn draws_prompts(&self) -> bool {
        true
    }

    fn preload(&self, endpoint: &'static Endpoint, watch: &dyn Watch) -> Option<Result<(), RunError>> {
        let lane = self.lanes.place(&self.key);
        let model = self.pipeline(endpoint.pipeline(), &lane, watch, &|| Ok(()));
        Some(model.map(drop))
    }

    fn refuses(&self, input: &Input) -> Vec<Problem> {
        call::refusals(input)
    }

    async fn run(&self, request: Request, watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        let this = self.clone();
        let span = Span::current();
        let task = tokio::task::spawn_blocking(move || span.in_scope(|| this.draw(&request, &*watch, None)));
        task.await.unwrap_or_else(|e| Err(RunError::Failed(format!("the engine stopped unexpectedly: {e}"))))
    }
}

/// All files of weights, each as it is best known: one folder may be named in several ways.
fn files(source: &Source) -> Vec<(String, PathBuf)> {
    let known = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let whole = |path: &PathBuf| (String::new(), known(path));
    match source {
        Source::Folder(folder) => vec![whole(folder)],
        Source::Assembled(assembly) => {
            let parts = assembly.components.iter().map(|(name, path)| (name.clone(), known(path)));
            std::iter::once(whole(&assembly.weights)).chain(assembly.base.as_ref().map(whole)).chain(parts).collect()
        }
        Source::Embedded { name, .. } => vec![(String::new(), PathBuf::from(name))],
    }
}

/// Lets a watch observe the engine.
struct Bridge<'a> {
    watch: &'a dyn Watch,
    timer: Timer,
    /// The stage at hand, in the job's trace.
    span: Mutex<Option<Span>>,
    /// Whether nobody may see a picture before it was looked at.
    hides: bool,
}

impl Bridge<'_> {
    /// The stage before it has ended.
    fn trace(&self, stage: Stage) {
        let span = match stage {
            Stage::Load => scumble_traces::part!("load"),
            Stage::TextEncode => scumble_traces::part!("text_encode"),
            Stage::Denoise => scumble_traces::part!("denoise"),
            Stage::Decode => scumble_traces::part!("decode"),
        };
        *self.span.lock().unwrap_or_else(PoisonError::into_inner) = Some(span);
    }

    fn control(&self) -> Control {
        if self.watch.cancelled() { Control::Cancel } else { Control::Continue }
    }
}

impl Observer for Bridge<'_> {
    fn stage(&self, stage: Stage) -> Control {
        self.timer.begin(stage);
        self.trace(stage);
        self.watch.stage(stage);
        self.control()
    }

    fn step(&self, step: &Step<'_>) -> Control {
        let preview = || if self.hides { None } else { step.preview().ok() };
        self.watch.step(step.done, step.total, &preview);
        self.control()
    }

    fn ask(&self) -> Control {
        self.control()
    }

    fn prompts(&self, known: bool) {
        self.watch.looked_up(Cache::PromptEmbeddings, if known { Lookup::Hit } else { Lookup::Miss });
    }

    fn remark(&self, sentence: &str) {
        self.watch.log(sentence);
    }

    fn warn(&self, sentence: &str) {
        self.watch.warn(sentence);
    }
}
