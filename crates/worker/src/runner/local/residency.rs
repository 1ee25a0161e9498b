//! Loaded models of one device, checkers among them: shared by what they were loaded from, within a budget of bytes.
//!
//! A model is loaded once, however many jobs wait for it, on a thread of its own: a job that is cancelled meanwhile leaves
//! at once. Where there is no room for one, those that nobody uses go, the least recently used first: their text encoders
//! before all else. A job that runs holds its model; another that needs the room waits until it ends.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scumble_api::published::gigabytes;
use scumble_engine::checkers::Checker;
use scumble_engine::weights::Evict;
use scumble_engine::{Control, Pipeline, Reading};
use scumble_meters::{Load as Loading, Meters};

use crate::runner::{RunError, Watch};

/// What makes two models of a device the same: their files and the number type that the owner names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// By component, where they are in several places.
    pub(super) files: Vec<(String, PathBuf)>,
    pub(super) dtype: String,
}

impl Key {
    /// Where its files are, for people.
    fn names(&self) -> String {
        self.files.iter().map(|(_, path)| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }
}

/// What a job needs to get its model.
pub(super) struct Wanted<'a> {
    pub(super) key: &'a Key,
    /// The bytes that it takes, and how it is loaded; asked only where it is not there.
    pub(super) plan: &'a dyn Fn() -> Result<Plan, RunError>,
    /// Who waits, and may stop waiting.
    pub(super) watch: &'a dyn Watch,
    /// Called once, before the first wait.
    pub(super) announce: &'a dyn Fn() -> Result<(), RunError>,
}

/// How a model gets into memory.
pub(super) struct Plan {
    /// What its weights take there.
    pub(super) bytes: u64,
    /// What of that its text encoders take.
    pub(super) encoders: u64,
    pub(super) load: Load,
}

type Load = Box<dyn FnOnce(Arc<Progress>) -> Result<Loaded, RunError> + Send>;

/// How far a load has come.
#[derive(Default)]
pub(super) struct Progress {
    read: AtomicU64,
    /// Nobody waits for it any more.
    cancelled: AtomicBool,
}

impl Reading for Progress {
    fn read(&self, bytes: u64) -> Control {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        if self.cancelled.load(Ordering::Relaxed) { Control::Cancel } else { Control::Continue }
    }
}

/// The loaded models of a device. Clones share them.
#[derive(Clone)]
pub(crate) struct Residency {
    shared: Arc<Shared>,
}

struct Shared {
    /// What weights may take; no limit where nobody knows how much memory there is.
    budget: Option<u64>,
    /// What they may take together with what is computed with them.
    whole: Option<u64>,
    models: Mutex<Models>,
    /// Told when a model has come, or one was let go.
    changed: Condvar,
    meters: Meters,
}

#[derive(Default)]
struct Models {
    by_key: HashMap<Key, Model>,
    /// Counts uses, so that the least recent one is known.
    uses: u64,
    /// Jobs for whose models there is no room yet. Nobody who comes later gets a model before them.
    short: usize,
    /// What jobs compute with now, in bytes.
    working: u64,
}

struct Model {
    state: State,
    /// Jobs that draw with it.
    drawing: usize,
    /// Jobs that wait for it.
    waiting: usize,
    /// Which use was its last one, and when that ended.
    used: u64,
    idle_since: Instant,
    /// What it takes, also while it is loaded.
    bytes: u64,
    /// What of that its text encoders take, or would.
    encoders: u64,
    /// How often it was loaded, or could not be.
    loads: u64,
    /// Why the last load failed.
    failure: Option<RunError>,
}

enum State {
    Away,
    Coming(Arc<Progress>),
    /// Without its text encoders, which read their files again when they are needed.
    Partly(Loaded),
    Here(Loaded),
}

/// What is in memory.
#[derive(Clone)]
pub(super) enum Loaded {
    /// What draws.
    Pipeline(Arc<dyn Pipeline>),
    /// What looks at pictures.
    Checker(Arc<Checker>),
}

impl Loaded {
    /// What of it may go and come back by itself.
    fn encoders(&self) -> Option<&dyn Evict> {
        match self {
            Self::Pipeline(pipeline) => pipeline.encoders(),
            Self::Checker(_) => None,
        }
    }
}

/// A loaded model in use: it stays at least as long as this.
pub(super) struct InUse {
    loaded: Loaded,
    user: User,
}

/// What a job computes with, counted as long as this lives.
pub(super) struct Work {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.models().working -= self.bytes;
        self.shared.changed.notify_all();
    }
}

impl InUse {
    /// It, where it draws.
    pub(super) fn pipeline(&self) -> Result<&Arc<dyn Pipeline>, RunError> {
        match &self.loaded {
            Loaded::Pipeline(pipeline) => Ok(pipeline),
            Loaded::Checker(_) => Err(vanished()),
        }
    }

    /// It, where it looks at pictures.
    pub(super) fn checker(&self) -> Result<&Checker, RunError> {
        match &self.loaded {
            Loaded::Checker(checker) => Ok(checker),
            Loaded::Pipeline(_) => Err(vanished()),
        }
    }
}

/// One job that waits for a model, then draws with it.
struct User {
    shared: Arc<Shared>,
    key: Key,
    draws: bool,
    is_short: bool,
    /// How many loads of the model had ended before it came.
    since: u64,
}

/// What the log of a job that waits says of the load.
#[derive(Default)]
struct Reports {
    last: Option<Instant>,
}

impl Reports {
    /// Says how far it is, now and then; short ones end before that.
    fn on(&mut self, progress: &Progress, bytes: u64, watch: &dyn Watch) {
        let last = *self.last.get_or_insert_with(Instant::now);
        if last.elapsed() >= REPORT {
            self.last = Some(Instant::now());
            let read = progress.read.load(Ordering::Relaxed).min(bytes);
            let percent = (read * 100).checked_div(bytes).unwrap_or(100);
            watch.log(&format!("loading the model: {percent} % of {}", gigabytes(bytes)));
        }
    }
}

/// Pause between two reports of a load.
const REPORT: Duration = Duration::from_secs(3);

/// Others came before.
struct InLine;

/// How often who waits looks whether it was cancelled.
const GLANCE: Duration = Duration::from_millis(50);

impl Residency {
    /// Nothing yet; with what weights may take, and what they may take together with what is computed with them.
    pub(crate) fn new(budget: Option<u64>, whole: Option<u64>, meters: Meters) -> Self {
        let (models, changed) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { budget, whole, models, changed, meters }) }
    }

    /// What weights may take.
    pub(super) fn budget(&self) -> Option<u64> {
        self.shared.budget
    }

    /// Whether a model is here, or on its way.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.shared.models().by_key.get(key).is_some_and(|model| !matches!(model.state, State::Away))
    }

    /// What the weights of all models take.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.models().bytes()
    }

    /// How many models are here.
    pub(super) fn count(&self) -> usize {
        let is_here = |model: &&Model| matches!(model.state, State::Here(_) | State::Partly(_));
        self.shared.models().by_key.values().filter(is_here).count()
    }

    /// Lets go of models that nobody has used for so long.
    pub(crate) fn let_go_idle(&self, longest: Duration) {
        let mut models = self.shared.models();
        let idle = models.by_key.values_mut().filter(|model| model.is_idle() && model.idle_since.elapsed() >= longest);
        let gone: Vec<_> = idle.filter_map(Model::leave).collect();
        drop(models);
        self.shared.let_go(gone.len());
        if !gone.is_empty() {
            tracing::info!(models = gone.len(), "models that were idle were let go");
        }
    }

    /// The model, loaded where it is not there yet.
    ///
    /// # Errors
    /// It cannot be loaded, or is larger than the budget; whoever waits has cancelled.
    pub(super) fn model(&self, wanted: &Wanted<'_>) -> Result<InUse, RunError> {
        let (mut user, is_announced) = match self.shared.user_at_once(wanted.key) {
            Ok(user) => (user, false),
            Err(InLine) => {
                (wanted.announce)()?;
                (self.shared.user_in_line(wanted)?, true)
            }
        };
        // not within the match: what is locked in its head stays so to its end
        let here = self.shared.models().here(wanted.key);
        let loaded = match here {
            Some(loaded) => loaded,
            None => {
                // one stage, whether it waits for room, for the load, or for both
                if !is_announced {
                    (wanted.announce)()?;
                }
                self.wait_for(&mut user, wanted)?
            }
        };
        user.draw();
        Ok(InUse { loaded, user })
    }

    /// Room for what a job computes with its model, until that is dropped. Models that nobody uses go for it; so do the job's
    /// own encoders, which come back for its texts alone. What others compute with is waited for.
    ///
    /// # Errors
    /// [`RunError::Unavailable`] where there could never be so much beside its model; [`RunError::Passing`] where models have
    /// it whose jobs wait too, who would wait for each other; whoever waits has cancelled.
    pub(super) fn work(&self, model: &InUse, bytes: u64, watch: &dyn Watch) -> Result<Work, RunError> {
        let (shared, key) = (self.shared.clone(), &model.user.key);
        let Some(whole) = shared.whole else { return Ok(Work { shared, bytes: 0 }) };
        let mut models = shared.models();
        loop {
            let own = models.by_key.get_mut(key).ok_or_else(vanished)?;
            if own.bytes + bytes > whole {
                own.let_encoders_go();
            }
            if own.bytes + bytes > whole {
                return Err(too_large(bytes, own.bytes, whole));
            }
            let free = whole - models.working.min(whole);
            if let Some(gone) = models.make_room(Some(free), bytes, key) {
                models.working += bytes;
                drop(models);
                drop(gone);
                return Ok(Work { shared, bytes });
            }
            if models.working == 0 {
                return Err(RunError::busy());
            }
            models = shared.wait(models);
            if watch.cancelled() {
                return Err(RunError::Cancelled);
            }
        }
    }

    /// The model of one who waits, loaded and given room where it needs that.
    fn wait_for(&self, user: &mut User, wanted: &Wanted<'_>) -> Result<Loaded, RunError> {
        let mut models = self.shared.models();
        let mut plan = None;
        let mut reports = Reports::default();
        loop {
            let Some(model) = models.by_key.get_mut(wanted.key) else { return Err(vanished()) };
            match (&model.state, &model.failure) {
                (State::Here(loaded), _) => return Ok(loaded.clone()),
                // an attempt that this job waited for, whoever began it
                (State::Away, Some(failure)) if model.loads > user.since => return Err(failure.clone()),
                (State::Coming(progress), _) => reports.on(progress, model.bytes, wanted.watch),
                (State::Partly(loaded), _) => {
                    let (loaded, encoders) = (loaded.clone(), model.encoders);
                    if let Some(gone) = models.make_room(self.shared.budget, encoders, wanted.key) {
                        self.shared.let_go(gone.len());
                        models.complete(wanted.key);
                        user.has_room(&mut models);
                        drop(models);
                        drop(gone);
                        return Ok(loaded);
                    }
                    user.is_short(&mut models);
                }
                (State::Away, _) => match plan.take() {
                    None => {
                        drop(models);
                        plan = Some(self.checked((wanted.plan)()?)?);
                        models = self.shared.models();
                        continue;
                    }
                    Some(ready) => match models.make_room(self.shared.budget, ready.bytes, wanted.key) {
                        Some(gone) => {
                            self.shared.let_go(gone.len());
                            user.has_room(&mut models);
                            let progress = models.begin(wanted.key, &ready);
                            drop(models);
                            drop(gone);
                            self.shared.load(wanted.key, ready.load, progress);
                            models = self.shared.models();
                            continue;
                        }
                        None => {
                            plan = Some(ready);
                            user.is_short(&mut models);
                        }
                    },
                },
            }
            models = self.shared.wait(models);
            if wanted.watch.cancelled() {
                return Err(RunError::Cancelled);
            }
        }
    }

    /// A plan that can be followed.
    fn checked(&self, plan: Plan) -> Result<Plan, RunError> {
        match self.shared.budget {
            Some(budget) if plan.bytes > budget => Err(RunError::Unavailable(format!(
                "its weights take {} of memory, and weights may take {} here",
                gigabytes(plan.bytes),
                gigabytes(budget)
            ))),
            _ => Ok(plan),
        }
    }
}

/// What a job is refused with that needs more than there is.
fn too_large(bytes: u64, model: u64, whole: u64) -> RunError {
    let [bytes, model, whole] = [bytes, model, whole].map(gigabytes);
    RunError::Unavailable(format!(
        "Pictures of this size take at least {bytes} of memory beside the {model} of the model, and models may take {whole} \
         here. Ask for smaller pictures, or for fewer at once; or give the worker more ([worker] memory)"
    ))
}

fn vanished() -> RunError {
    RunError::Failed("a model that is waited for is unknown".to_owned())
}

impl Shared {
    /// So many models have gone.
    fn let_go(&self, models: usize) {
        self.meters.models.let_go.inc_by(models as u64);
    }

    fn models(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more job that waits for a model, unless others wait for room.
    fn user_at_once(self: &Arc<Self>, key: &Key) -> Result<User, InLine> {
        let mut models = self.models();
        if models.short > 0 { Err(InLine) } else { Ok(self.user(&mut models, key)) }
    }

    /// The same once nobody waits for room who came before. Who stands here keeps no model from going.
    fn user_in_line(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<User, RunError> {
        let mut models = self.models();
        while models.short > 0 {
            models = self.wait(models);
            if wanted.watch.cancelled() {
                return Err(RunError::Cancelled);
            }
        }
        Ok(self.user(&mut models, wanted.key))
    }

    fn user(self: &Arc<Self>, models: &mut Models, key: &Key) -> User {
        models.uses += 1;
        let used = models.uses;
        let model = models.by_key.entry(key.clone()).or_insert_with(Model::away);
        model.waiting += 1;
        model.used = used;
        let since = model.loads - u64::from(matches!(model.state, State::Coming(_)));
        User { shared: self.clone(), key: key.clone(), draws: false, is_short: false, since }
    }

    /// Until something changes, or it is time to look whether anybody still waits.
    fn wait<'a>(&self, models: MutexGuard<'a, Models>) -> MutexGuard<'a, Models> {
        self.changed.wait_timeout(models, GLANCE).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Loads on a thread of its own; everybody hears how it ends.
    fn load(self: &Arc<Self>, key: &Key, load: Load, progress: Arc<Progress>) {
        let (shared, own) = (self.clone(), key.clone());
        // of the job that made it load
        let (began, span) = (Instant::now(), tracing::Span::current());
        let run = move || {
            let _about = span.entered();
            let loaded = catch_unwind(AssertUnwindSafe(|| load(progress)));
            let panicked = || RunError::Failed("a panic ended the loading of a model".to_owned());
            let loaded = loaded.unwrap_or_else(|_| Err(panicked()));
            if loaded.is_ok() {
                let (seconds, files) = (began.elapsed().as_secs_f64(), own.names());
                tracing::info!(seconds, files, "a model was loaded");
            }
            shared.count(&loaded, began.elapsed());
            shared.end(&own, loaded);
        };
        if let Err(error) = std::thread::Builder::new().name("load".to_owned()).spawn(run) {
            self.end(key, Err(RunError::Failed(format!("no thread can be started that loads a model: {error}"))));
        }
    }

    fn count(&self, loaded: &Result<Loaded, RunError>, took: Duration) {
        let meters = &self.meters.models;
        match loaded {
            Ok(_) => {
                meters.loads.of(Loading::Loaded).inc();
                meters.seconds.observe(took.as_secs_f64());
            }
            Err(RunError::Cancelled) => meters.loads.of(Loading::Cancelled).inc(),
            Err(_) => meters.loads.of(Loading::Failed).inc(),
        }
    }

    fn end(&self, key: &Key, loaded: Result<Loaded, RunError>) {
        if let Some(model) = self.models().by_key.get_mut(key) {
            match loaded {
                Ok(loaded) => model.state = State::Here(loaded),
                Err(failure) => {
                    (model.state, model.bytes) = (State::Away, 0);
                    // who has come since then loads it anew
                    model.failure = Some(failure).filter(|failure| !matches!(failure, RunError::Cancelled));
                }
            }
            model.idle_since = Instant::now();
        }
        self.changed.notify_all();
    }
}

impl Models {
    fn bytes(&self) -> u64 {
        self.by_key.values().map(|model| model.bytes).sum()
    }

    fn here(&self, key: &Key) -> Option<Loaded> {
        match &self.by_key.get(key)?.state {
            State::Here(loaded) => Some(loaded.clone()),
            State::Away | State::Coming(_) | State::Partly(_) => None,
        }
    }

    /// Lets go of as much as it takes of other models that nobody uses, and gives what has to be dropped; `None` where that is
    /// not enough, and then all stays.
    fn make_room(&mut self, budget: Option<u64>, bytes: u64, own: &Key) -> Option<Vec<Loaded>> {
        let Some(budget) = budget else { return Some(Vec::new()) };
        let over = (self.bytes() + bytes).saturating_sub(budget);
        let others = self.by_key.iter_mut().filter(|(key, model)| *key != own && model.is_idle());
        let mut idle: Vec<&mut Model> = others.map(|(_, model)| model).collect();
        if idle.iter().map(|model| model.bytes).sum::<u64>() < over {
            return None;
        }
        idle.sort_by_key(|model| model.used);
        let mut freed = 0;
        for model in &mut idle {
            if freed < over {
                freed += model.let_encoders_go();
            }
        }
        let mut gone = Vec::new();
        for model in idle {
            if freed < over {
                freed += model.bytes;
                gone.extend(model.leave());
            }
        }
        Some(gone)
    }

    /// The encoders of a model may stay again.
    fn complete(&mut self, key: &Key) {
        let Some(model) = self.by_key.get_mut(key) else { return };
        if let State::Partly(pipeline) = std::mem::replace(&mut model.state, State::Away) {
            pipeline.encoders().inspect(|encoders| encoders.keep(true));
            model.bytes += model.encoders;
            model.state = State::Here(pipeline);
        }
    }

    /// The model is on its way from now on, and takes its bytes.
    fn begin(&mut self, key: &Key, plan: &Plan) -> Arc<Progress> {
        let progress = Arc::new(Progress::default());
        if let Some(model) = self.by_key.get_mut(key) {
            model.state = State::Coming(progress.clone());
            (model.bytes, model.encoders, model.failure) = (plan.bytes, plan.encoders, None);
            model.loads += 1;
        }
        progress
    }
}

impl Model {
    fn away() -> Self {
        Self {
            state: State::Away,
            drawing: 0,
            waiting: 0,
            used: 0,
            idle_since: Instant::now(),
            bytes: 0,
            encoders: 0,
            loads: 0,
            failure: None,
        }
    }

    /// Whether it is in memory, and nobody uses it. Who waits for room for its encoders holds nothing: two of these would
    /// wait for each other.
    fn is_idle(&self) -> bool {
        match self.state {
            State::Here(_) => self.drawing + self.waiting == 0,
            State::Partly(_) => self.drawing == 0,
            State::Away | State::Coming(_) => false,
        }
    }

    /// Gives the bytes that this frees.
    fn let_encoders_go(&mut self) -> u64 {
        match std::mem::replace(&mut self.state, State::Away) {
            State::Here(pipeline) if self.encoders > 0 && pipeline.encoders().is_some() => {
                pipeline.encoders().inspect(|encoders| encoders.keep(false));
                self.bytes -= self.encoders;
                self.state = State::Partly(pipeline);
                self.encoders
            }
            other => {
                self.state = other;
                0
            }
        }
    }

    /// Its pipeline, to be dropped where nothing is locked.
    fn leave(&mut self) -> Option<Loaded> {
        match std::mem::replace(&mut self.state, State::Away) {
            State::Here(pipeline) | State::Partly(pipeline) => {
                self.bytes = 0;
                Some(pipeline)
            }
            other => {
                self.state = other;
                None
            }
        }
    }
}

impl User {
    /// It has its model.
    fn draw(&mut self) {
        if let Some(model) = self.shared.models().by_key.get_mut(&self.key) {
            model.waiting -= 1;
            model.drawing += 1;
        }
        self.draws = true;
    }

    /// There is no room for its model.
    fn is_short(&mut self, models: &mut Models) {
        models.short += usize::from(!self.is_short);
        self.is_short = true;
    }

    fn has_room(&mut self, models: &mut Models) {
        models.short -= usize::from(self.is_short);
        self.is_short = false;
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let shared = self.shared.clone();
        let mut models = shared.models();
        self.has_room(&mut models);
        if let Some(model) = models.by_key.get_mut(&self.key) {
            let count = if self.draws { &mut model.drawing } else { &mut model.waiting };
            *count -= 1;
            model.idle_since = Instant::now();
            if let (0, State::Coming(progress)) = (model.waiting, &model.state) {
                progress.cancelled.store(true, Ordering::Relaxed);
            }
        }
        drop(models);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::thread::{scope, yield_now};

    use scumble_engine::{Call, Context, Pixels, Sizes, Stage};

    use super::*;

    /// A model that draws nothing.
    struct Model {
        encoders: Encoders,
        /// Models that are in memory.
        alive: Arc<AtomicUsize>,
    }

    /// Whether they stay.
    struct Encoders(AtomicBool);

    impl Evict for Encoders {
        fn keep(&self, keep: bool) {
            self.0.store(keep, Ordering::SeqCst);
        }

        fn is_held(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    impl Pipeline for Model {
        fn generate(&self, _: &Call, _: &Context<'_>) -> scumble_engine::Result<Vec<Pixels>> {
            Ok(Vec::new())
        }

        fn sizes(&self) -> Sizes {
            Sizes { multiple: 16, longest: None }
        }

        fn working(&self, _: &Call) -> scumble_engine::Result<u64> {
            Ok(0)
        }

        fn unknown_words(&self, _: &str) -> scumble_engine::Result<Vec<String>> {
            Ok(Vec::new())
        }

        fn encoders(&self) -> Option<&dyn Evict> {
            Some(&self.encoders)
        }
    }

    impl Drop for Model {
        fn drop(&mut self) {
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Hears what a job is told, and may cancel it.
    #[derive(Default)]
    struct Job {
        cancelled: AtomicBool,
    }

    impl Watch for Job {
        fn stage(&self, _: Stage) {}
        fn step(&self, _: usize, _: usize, _: &dyn Fn() -> Option<Pixels>) {}
        fn log(&self, _: &str) {}
        fn cancelled(&self) -> bool {
            self.cancelled.load(Ordering::SeqCst)
        }
    }

    /// A device with a budget of 100, and what was loaded there.
    struct Desk {
        residency: Residency,
        alive: Arc<AtomicUsize>,
        loads: Arc<AtomicUsize>,
        /// How often a job said that it waits.
        waits: AtomicUsize,
    }

    impl Desk {
        fn new() -> Self {
            let (alive, loads, waits) = (Arc::default(), Arc::default(), AtomicUsize::new(0));
            Self { residency: Residency::new(Some(100), Some(120), Meters::new()), alive, loads, waits }
        }

        fn ask(
            &self,
            name: &str,
            bytes: u64,
            job: &Job,
            before: impl Fn(&Progress) -> Result<(), RunError> + Send + Clone + 'static,
        ) -> Result<InUse, RunError> {
            let key = key(name);
            let plan = || {
                let (alive, loads, before) = (self.alive.clone(), self.loads.clone(), before.clone());
                let load: Load = Box::new(move |progress| {
                    loads.fetch_add(1, Ordering::SeqCst);
                    before(&progress)?;
                    alive.fetch_add(1, Ordering::SeqCst);
                    Ok(Loaded::Pipeline(Arc::new(Model { encoders: Encoders(AtomicBool::new(true)), alive })))
                });
                Ok(Plan { bytes, encoders: bytes / 2, load })
            };
            let announce = || {
                self.waits.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            self.residency.model(&Wanted { key: &key, plan: &plan, watch: job, announce: &announce })
        }

        fn get(&self, name: &str, bytes: u64) -> Result<InUse, RunError> {
            self.ask(name, bytes, &Job::default(), |_| Ok(()))
        }

        fn counts(&self) -> (usize, usize, u64) {
            (self.loads.load(Ordering::SeqCst), self.alive.load(Ordering::SeqCst), self.residency.bytes())
        }

        fn users(&self, name: &str) -> usize {
            self.residency.shared.models().by_key.get(&key(name)).map_or(0, |model| model.drawing + model.waiting)
        }
    }

    fn key(name: &str) -> Key {
        Key { files: vec![(String::new(), name.into())], dtype: String::new() }
    }

    fn refused(model: Result<InUse, RunError>) -> RunError {
        model.err().unwrap_or_else(|| panic!("it was given"))
    }

    #[test]
    fn what_nobody_uses_makes_room_encoders_first_and_the_least_recent_before_others() -> Result<(), RunError> {
        let desk = Desk::new();
        drop((desk.get("a", 40)?, desk.get("b", 40)?));
        drop(desk.get("a", 40)?);
        assert_eq!(desk.counts(), (2, 2, 80));
        drop(desk.get("c", 40)?);
        assert_eq!(desk.counts(), (3, 3, 100), "b, the least recent one, has let its encoders go");
        drop(desk.get("b", 40)?);
        assert_eq!(desk.counts(), (3, 3, 100), "they came back, and those of a went");
        drop(desk.get("d", 90)?);
        assert_eq!(desk.counts(), (4, 1, 90), "nobody else can stay beside it");
        drop(desk.get("d", 90)?);
        assert_eq!(desk.counts().0, 4);
        let said = refused(desk.get("e", 101)).to_string();
        assert!(said.contains("weights may take"), "{said}");
        assert_eq!(desk.counts(), (4, 1, 90), "nobody goes for one that never fits");
        Ok(())
    }

    #[test]
    fn encoders_that_went_are_kept_again_when_their_model_is_used() -> Result<(), RunError> {
        let desk = Desk::new();
        let held = |model: &InUse| model.loaded.encoders().is_some_and(Evict::is_held);
        let first = desk.get("a", 60)?;
        assert!(held(&first));
        let pipeline = first.loaded.clone();
        drop(first);
        let second = desk.get("b", 60)?;
        assert!(!pipeline.encoders().is_some_and(Evict::is_held));
        drop(second);
        assert!(held(&desk.get("a", 60)?));
        Ok(())
    }

    #[test]
    fn a_model_in_use_stays_and_who_needs_its_room_waits_or_goes() -> Result<(), RunError> {
        let desk = Desk::new();
        let first = desk.get("a", 60)?;
        scope(|scope| {
            let second = scope.spawn(|| desk.get("b", 60).map(drop));
            while desk.users("b") == 0 {
                yield_now();
            }
            let job = Job { cancelled: AtomicBool::new(true) };
            assert!(matches!(refused(desk.ask("c", 60, &job, |_| Ok(()))), RunError::Cancelled));
            assert_eq!(desk.counts(), (1, 1, 60));
            drop(first);
            second.join().unwrap_or_else(|_| panic!("it waited in vain"))
        })?;
        assert_eq!(desk.counts(), (2, 2, 90));
        Ok(())
    }

    /// Both are here without their encoders, whose room is taken by the other.
    #[test]
    fn two_that_need_each_others_room_do_not_wait_for_ever() -> Result<(), RunError> {
        let desk = Desk::new();
        for name in ["a", "b"] {
            drop(desk.get(name, 66)?);
        }
        drop(desk.get("c", 34)?);
        let partly = |name: &str| {
            let models = desk.residency.shared.models();
            models.by_key.get(&key(name)).is_some_and(|model| matches!(model.state, State::Partly(_)))
        };
        assert!(partly("a") && partly("b"), "{:?}", desk.counts());
        for _ in 0..50 {
            scope(|scope| {
                let desk = &desk;
                let ask = |name: &'static str| {
                    let bytes = if name == "c" { 34 } else { 66 };
                    scope.spawn(move || desk.get(name, bytes).map(drop))
                };
                let jobs = ["a", "b", "c"].map(ask);
                jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| panic!("one panicked")))
            })?;
        }
        assert_eq!(desk.users("a") + desk.users("b") + desk.users("c"), 0);
        Ok(())
    }

    #[test]
    fn who_comes_later_does_not_overtake_who_waits_for_room() -> Result<(), RunError> {
        let desk = Desk::new();
        let first = desk.get("a", 60)?;
        scope(|scope| {
            let second = scope.spawn(|| desk.get("b", 60));
            while desk.residency.shared.models().short == 0 {
                yield_now();
            }
            let third = scope.spawn(|| desk.get("a", 60));
            drop(first);
            let joined = |job: std::thread::ScopedJoinHandle<'_, Result<InUse, RunError>>| {
                job.join().unwrap_or_else(|_| panic!("it waited in vain"))
            };
            // the third can only end when the second has had its turn
            drop(joined(second)?);
            drop(joined(third)?);
            Ok::<_, RunError>(())
        })?;
        assert_eq!(desk.residency.shared.models().short, 0);
        Ok(())
    }

    #[test]
    fn what_is_computed_has_room_beside_the_models_or_is_refused() -> Result<(), RunError> {
        let desk = Desk::new();
        let job = Job::default();
        let work = |model: &InUse, bytes| desk.residency.work(model, bytes, &job);
        let first = desk.get("a", 40)?;
        drop(desk.get("b", 40)?);
        let small = work(&first, 30)?;
        assert_eq!(desk.counts(), (2, 2, 80), "both models and 30 are 110");
        let more = work(&first, 20)?;
        assert_eq!(desk.counts(), (2, 2, 60), "the encoders of the one that nobody uses went");
        let most = work(&first, 30)?;
        assert_eq!(desk.counts(), (2, 1, 40), "all of it went");
        let gone = Job { cancelled: AtomicBool::new(true) };
        assert!(matches!(desk.residency.work(&first, 1, &gone), Err(RunError::Cancelled)));
        scope(|scope| {
            let waits = scope.spawn(|| work(&first, 1).map(drop));
            drop((small, more, most));
            waits.join().unwrap_or_else(|_| panic!("it waited in vain"))
        })?;
        // its own encoders go last, and only then it is too much
        drop(work(&first, 100)?);
        assert_eq!(desk.counts().2, 20);
        let never = work(&first, 101).err().ok_or_else(vanished)?;
        assert!(matches!(never, RunError::Unavailable(_)) && never.fault().is_none(), "{never}");
        let said = never.to_string();
        assert!(said.contains("at least 101 B of memory beside the 20 B of the model"), "{said}");
        assert!(said.contains("models may take 120 B here. Ask for smaller pictures"), "{said}");
        drop(first);
        let again = desk.get("a", 40)?;
        assert_eq!(desk.counts(), (2, 1, 40), "they are counted again for the next job");
        // two models in use, and nobody computes: who waited would wait for ever
        let other = desk.get("c", 60)?;
        let busy = work(&again, 50).err().ok_or_else(vanished)?;
        assert!(matches!(busy, RunError::Passing { .. }) && busy.fault().is_some(), "{busy}");
        drop(other);
        drop(work(&again, 80)?);
        assert_eq!(desk.residency.shared.models().working, 0);
        Ok(())
    }

    /// In line, then for room, then for the load: that is one stage of its job.
    #[test]
    fn who_waits_says_so_once() -> Result<(), RunError> {
        let desk = Desk::new();
        let first = desk.get("a", 60)?;
        assert_eq!(desk.waits.swap(0, Ordering::SeqCst), 1, "it was loaded");
        drop(desk.get("a", 60)?);
        assert_eq!(desk.waits.load(Ordering::SeqCst), 0, "it was there");
        scope(|scope| {
            let short = scope.spawn(|| desk.get("b", 60).map(drop));
            while desk.residency.shared.models().short == 0 {
                yield_now();
            }
            let in_line = scope.spawn(|| desk.get("c", 60).map(drop));
            while desk.waits.load(Ordering::SeqCst) < 2 {
                yield_now();
            }
            drop(first);
            [short, in_line].into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| panic!("it waited in vain")))
        })?;
        assert_eq!((desk.waits.load(Ordering::SeqCst), desk.loads.load(Ordering::SeqCst)), (2, 3));
        Ok(())
    }

    #[test]
    fn many_wait_for_one_load_and_for_its_failure() -> Result<(), RunError> {
        let desk = Desk::new();
        for fails in [true, false] {
            let (go, wait) = mpsc::channel::<()>();
            let wait = Arc::new(Mutex::new(wait));
            let before = move |_: &Progress| {
                let _ = wait.lock().unwrap_or_else(PoisonError::into_inner).recv();
                if fails { Err(RunError::Failed("broken".to_owned())) } else { Ok(()) }
            };
            let ends = scope(|scope| {
                let ask = || desk.ask("a", 40, &Job::default(), before.clone()).map(drop);
                let jobs: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                while desk.users("a") < 4 || desk.counts().2 == 0 {
                    yield_now();
                }
                drop(go);
                jobs.into_iter().map(|job| job.join().unwrap_or_else(|_| panic!("one panicked"))).collect::<Vec<_>>()
            });
            assert!(ends.iter().all(|end| end.is_err() == fails), "{ends:?}");
        }
        assert_eq!(desk.counts(), (2, 1, 40), "each was loaded once");
        Ok(())
    }

    #[test]
    fn a_load_that_nobody_waits_for_ends_and_the_next_job_begins_anew() -> Result<(), RunError> {
        let desk = Desk::new();
        let job = Job::default();
        let stopped = scope(|scope| {
            let (desk, job) = (&desk, &job);
            let endless = |progress: &Progress| {
                while progress.read(1) == Control::Continue {
                    yield_now();
                }
                Err(RunError::Cancelled)
            };
            let asked = scope.spawn(move || desk.ask("a", 40, job, endless).map(drop));
            while desk.counts().0 == 0 {
                yield_now();
            }
            job.cancelled.store(true, Ordering::SeqCst);
            asked.join().unwrap_or_else(|_| panic!("it panicked"))
        });
        assert!(matches!(stopped, Err(RunError::Cancelled)));
        drop(desk.get("a", 40)?);
        assert_eq!(desk.counts(), (2, 1, 40));
        Ok(())
    }

    #[test]
    fn a_panic_is_a_failure_and_idle_models_go() -> Result<(), RunError> {
        let desk = Desk::new();
        let panics = |_: &Progress| -> Result<(), RunError> { panic!("a mistake") };
        assert!(matches!(refused(desk.ask("a", 40, &Job::default(), panics)), RunError::Failed(_)));
        assert_eq!(desk.counts(), (1, 0, 0));
        let used = desk.get("a", 40)?;
        drop(desk.get("b", 40)?);
        desk.residency.let_go_idle(Duration::from_secs(3600));
        assert_eq!(desk.counts(), (3, 2, 80));
        desk.residency.let_go_idle(Duration::ZERO);
        assert_eq!(desk.counts(), (3, 1, 40), "the one in use stays");
        drop(used);
        desk.residency.let_go_idle(Duration::ZERO);
        assert_eq!(desk.counts(), (3, 0, 0));
        Ok(())
    }
}
