//! Loaded models of one device: shared by what they were loaded from, within a budget of bytes.
//!
//! A model is loaded once, however many jobs wait for it, on a thread of its own: a job that is cancelled meanwhile leaves
//! at once. Where there is no room for one, those that nobody uses go, the least recently used first: their text encoders
//! before all else. A job that runs holds its model; another that needs the room waits until it ends.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scumble_engine::Pipeline;

use crate::runner::{RunError, Watch};

/// What makes two models of a device the same: their files and the number type that the owner names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) files: PathBuf,
    pub(super) dtype: String,
}

/// What a job needs to get its model.
pub(super) struct Wanted<'a> {
    pub(super) key: &'a Key,
    /// The bytes that it takes, and how it is loaded; asked only where it is not there.
    pub(super) plan: &'a dyn Fn() -> Result<Plan, RunError>,
    /// Who waits, and may stop waiting.
    pub(super) watch: &'a dyn Watch,
    /// Called before the first wait.
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

type Load = Box<dyn FnOnce() -> Result<Arc<dyn Pipeline>, RunError> + Send>;

/// The loaded models of a device. Clones share them.
#[derive(Clone)]
pub(crate) struct Residency {
    shared: Arc<Shared>,
}

struct Shared {
    /// What weights may take; no limit where nobody knows how much memory there is.
    budget: Option<u64>,
    models: Mutex<Models>,
    /// Told when a model has come, or one was let go.
    changed: Condvar,
}

#[derive(Default)]
struct Models {
    by_key: HashMap<Key, Model>,
    /// Counts uses, so that the least recent one is known.
    uses: u64,
}

struct Model {
    state: State,
    /// Jobs that draw with it or wait for it.
    users: usize,
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
    Coming,
    /// Without its text encoders, which read their files again when they are needed.
    Partly(Arc<dyn Pipeline>),
    Here(Arc<dyn Pipeline>),
}

/// A loaded model in use: it stays at least as long as this.
pub(super) struct InUse {
    pub(super) pipeline: Arc<dyn Pipeline>,
    _user: User,
}

/// One job that draws with a model or waits for it.
struct User {
    shared: Arc<Shared>,
    key: Key,
}

/// How often who waits looks whether it was cancelled.
const GLANCE: Duration = Duration::from_millis(50);

impl Residency {
    /// Nothing yet.
    pub(crate) fn new(budget: Option<u64>) -> Self {
        Self { shared: Arc::new(Shared { budget, models: Mutex::default(), changed: Condvar::new() }) }
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
    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.shared.models().bytes()
    }

    /// Lets go of models that nobody has used for so long.
    pub(crate) fn let_go_idle(&self, longest: Duration) {
        let mut models = self.shared.models();
        let idle = models.by_key.values_mut().filter(|model| model.is_idle() && model.idle_since.elapsed() >= longest);
        let gone: Vec<_> = idle.filter_map(Model::leave).collect();
        drop(models);
        if !gone.is_empty() {
            tracing::info!(models = gone.len(), "models that were idle were let go");
        }
    }

    /// The model, loaded where it is not there yet.
    ///
    /// # Errors
    /// It cannot be loaded, or is larger than the budget; whoever waits has cancelled.
    pub(super) fn model(&self, wanted: &Wanted<'_>) -> Result<InUse, RunError> {
        let user = self.shared.user(wanted.key);
        let mut models = self.shared.models();
        if let Some(pipeline) = models.here(wanted.key) {
            return Ok(InUse { pipeline, _user: user });
        }
        drop(models);
        (wanted.announce)()?;
        models = self.shared.models();
        let mut plan = None;
        let mut awaited = None;
        loop {
            let Some(model) = models.by_key.get_mut(wanted.key) else { return Err(vanished()) };
            match (&model.state, &model.failure) {
                (State::Here(pipeline), _) => return Ok(InUse { pipeline: pipeline.clone(), _user: user }),
                // somebody else's attempt was this job's too
                (State::Away, Some(failure)) if awaited == Some(model.loads) => return Err(failure.clone()),
                (State::Coming, _) => awaited = Some(model.loads),
                (State::Partly(pipeline), _) => {
                    let (pipeline, encoders) = (pipeline.clone(), model.encoders);
                    if let Some(gone) = models.make_room(self.shared.budget, encoders) {
                        models.complete(wanted.key);
                        drop(models);
                        drop(gone);
                        return Ok(InUse { pipeline, _user: user });
                    }
                }
                (State::Away, _) => match plan.take() {
                    None => {
                        drop(models);
                        plan = Some(self.checked((wanted.plan)()?)?);
                        models = self.shared.models();
                        continue;
                    }
                    Some(ready) => match models.make_room(self.shared.budget, ready.bytes) {
                        Some(gone) => {
                            awaited = models.begin(wanted.key, &ready);
                            drop(models);
                            drop(gone);
                            self.shared.load(wanted.key, ready.load);
                            models = self.shared.models();
                            continue;
                        }
                        None => plan = Some(ready),
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

/// For people.
pub(super) fn gigabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000_000;
    match tenths {
        0 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", tenths / 10, tenths % 10),
    }
}

fn vanished() -> RunError {
    RunError::Failed("a model that is waited for is unknown".to_owned())
}

impl Shared {
    fn models(&self) -> MutexGuard<'_, Models> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn user(self: &Arc<Self>, key: &Key) -> User {
        let mut models = self.models();
        models.uses += 1;
        let used = models.uses;
        let model = models.by_key.entry(key.clone()).or_insert_with(Model::away);
        model.users += 1;
        model.used = used;
        User { shared: self.clone(), key: key.clone() }
    }

    /// Until something changes, or it is time to look whether anybody still waits.
    fn wait<'a>(&self, models: MutexGuard<'a, Models>) -> MutexGuard<'a, Models> {
        self.changed.wait_timeout(models, GLANCE).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Loads on a thread of its own; everybody hears how it ends.
    fn load(self: &Arc<Self>, key: &Key, load: Load) {
        let (shared, own) = (self.clone(), key.clone());
        let run = move || {
            let loaded = catch_unwind(AssertUnwindSafe(load));
            let panicked = || RunError::Failed("a panic ended the loading of a model".to_owned());
            shared.end(&own, loaded.unwrap_or_else(|_| Err(panicked())));
        };
        if let Err(error) = std::thread::Builder::new().name("load".to_owned()).spawn(run) {
            self.end(key, Err(RunError::Failed(format!("no thread can be started that loads a model: {error}"))));
        }
    }

    fn end(&self, key: &Key, loaded: Result<Arc<dyn Pipeline>, RunError>) {
        if let Some(model) = self.models().by_key.get_mut(key) {
            match loaded {
                Ok(pipeline) => model.state = State::Here(pipeline),
                Err(failure) => {
                    (model.state, model.bytes) = (State::Away, 0);
                    model.failure = Some(failure);
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

    fn here(&self, key: &Key) -> Option<Arc<dyn Pipeline>> {
        match &self.by_key.get(key)?.state {
            State::Here(pipeline) => Some(pipeline.clone()),
            State::Away | State::Coming | State::Partly(_) => None,
        }
    }

    /// Lets go of as much as it takes of models that nobody uses, and gives what has to be dropped; `None` where that is not
    /// enough, and then all stays.
    fn make_room(&mut self, budget: Option<u64>, bytes: u64) -> Option<Vec<Arc<dyn Pipeline>>> {
        let Some(budget) = budget else { return Some(Vec::new()) };
        let over = (self.bytes() + bytes).saturating_sub(budget);
        let mut idle: Vec<&mut Model> = self.by_key.values_mut().filter(|model| model.is_idle()).collect();
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

    /// The model is on its way from now on, and takes its bytes. Gives the number of this load.
    fn begin(&mut self, key: &Key, plan: &Plan) -> Option<u64> {
        let model = self.by_key.get_mut(key)?;
        (model.state, model.bytes, model.encoders, model.failure) = (State::Coming, plan.bytes, plan.encoders, None);
        model.loads += 1;
        Some(model.loads)
    }
}

impl Model {
    fn away() -> Self {
        Self {
            state: State::Away,
            users: 0,
            used: 0,
            idle_since: Instant::now(),
            bytes: 0,
            encoders: 0,
            loads: 0,
            failure: None,
        }
    }

    /// Whether it is in memory, and nobody uses it.
    fn is_idle(&self) -> bool {
        self.users == 0 && matches!(self.state, State::Here(_) | State::Partly(_))
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
    fn leave(&mut self) -> Option<Arc<dyn Pipeline>> {
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

impl Drop for User {
    fn drop(&mut self) {
        if let Some(model) = self.shared.models().by_key.get_mut(&self.key) {
            model.users -= 1;
            model.idle_since = Instant::now();
        }
        self.shared.changed.notify_all();
    }
}
