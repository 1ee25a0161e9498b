//! What answers each endpoint here: local weights, a stand-in, or nothing but advice.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use scumble_api::published::published;
use scumble_api::{Answers, Checks, ENDPOINTS, Endpoint, Family, Lack};
use scumble_engine::DType;
use scumble_engine::weights::Source;
use scumble_meters::Meters;
use scumble_providers::{MakerId, Makers};

use crate::runner::{
    Choice, Choices, Closed, Drawn, Lanes, Local, Request, RunError, Runner, SafetyConfig, StandIn, Watch,
};
use crate::weights::starter;

/// What the owner configured for one endpoint.
#[derive(Clone, Debug, Default)]
pub struct ModelConfig {
    /// A diffusers folder, or a file that holds a transformer and maybe more.
    pub weights: Option<PathBuf>,
    /// A diffusers folder for what the weights lack.
    pub base: Option<PathBuf>,
    /// Files and folders of single components, by their names.
    pub components: BTreeMap<String, PathBuf>,
    /// Folders of tokenizers for weights in one file that have none elsewhere, by their names.
    pub tokenizers: BTreeMap<String, PathBuf>,
    /// Number type of computation; the file's own where absent.
    pub dtype: Option<DType>,
    /// Who answers, in this order: `local`, a maker's name, `stand-in`. Where empty: weights, then the model's own
    /// maker, then stand-ins, each as far as it is there.
    pub provider: Vec<String>,
}

impl ModelConfig {
    /// Whether something is named that goes with weights.
    pub fn has_parts(&self) -> bool {
        self.base.is_some() || !self.components.is_empty()
    }

    /// Takes the weights that were fetched, where the owner names none; what the owner says of components stays.
    pub fn complete(&mut self, fetched: &Self) {
        if self.weights.is_none() {
            self.weights.clone_from(&fetched.weights);
            let own = std::mem::replace(&mut self.components, fetched.components.clone());
            self.components.extend(own);
        }
    }

    /// Where its weights are, if they are anywhere.
    pub fn source(&self) -> Option<Source> {
        let weights = self.weights.clone()?;
        let source = Source::of(weights, self.base.clone(), self.components.clone());
        Some(source.with_tokenizers(&self.tokenizers))
    }
}

/// What the owner configured for all of them.
#[derive(Clone, Default)]
pub struct ModelsConfig {
    /// By endpoint id.
    pub models: HashMap<String, ModelConfig>,
    /// Names of devices, one lane each; `cpu` where there is none.
    pub devices: Vec<String>,
    /// What each of them may take for models, in bytes; a share of what the machine has where absent.
    pub memory: Option<u64>,
    /// Models that nobody has used for so long are let go; they stay where absent.
    pub keep_alive: Option<Duration>,
    /// Endpoints whose models are loaded at the start.
    pub preload: Vec<String>,
    /// Cards stand in for endpoints that nothing else answers, after this time.
    pub stand_in: Option<Duration>,
    /// The makers of closed models.
    pub makers: Option<Arc<Makers>>,
    /// What looks at the pictures of models that run here.
    pub safety: Option<Arc<SafetyConfig>>,
    /// Where models in memory and calls of makers are counted.
    pub meters: Meters,
}

/// A runner for each endpoint.
pub struct Models {
    runners: HashMap<&'static str, Arc<dyn Runner>>,
    /// What it computes on.
    lanes: Arc<Lanes>,
    keep_alive: Option<Duration>,
    preload: Vec<&'static Endpoint>,
    /// Endpoints that are answered far away: they wait for others, not for this machine.
    far: Vec<&'static str>,
    makers: Option<Arc<Makers>>,
    safety: Option<Arc<SafetyConfig>>,
}

impl Models {
    /// Reads nothing but the configuration; weights are opened at the first job.
    ///
    /// # Errors
    /// A device that this build does not reach, or weights for an endpoint that does not exist.
    pub fn new(config: &ModelsConfig) -> Result<Self, String> {
        if let Some(unknown) = config.models.keys().find(|id| scumble_api::find(id).is_none()) {
            return Err(format!("there is no endpoint {unknown}; `scumble models list` shows those that there are"));
        }
        let closed = |id: &&String| scumble_api::find(id).is_some_and(|e| !engine_runs(e));
        if let Some(id) = config.models.iter().filter(|(_, own)| own.weights.is_some()).map(|(id, _)| id).find(closed) {
            return Err(format!("{id} cannot be run from weights: the engine has no model for it"));
        }
        let lanes = match config.devices.is_empty() {
            true => Lanes::open(&["cpu".to_owned()], config.memory, &config.meters)?,
            false => Lanes::open(&config.devices, config.memory, &config.meters)?,
        };
        let lanes = Arc::new(lanes);
        show(&config.meters, &lanes, config.makers.as_ref());
        let (mut runners, mut far) = (HashMap::new(), Vec::new());
        for endpoint in ENDPOINTS {
            let own = config.models.get(endpoint.id).cloned().unwrap_or_default();
            let chosen = Routing { endpoint, own: &own, config, lanes: &lanes }.choices()?;
            if chosen.choices.iter().all(|choice| MakerId::parse(choice.name).is_some()) {
                far.push(endpoint.id);
            }
            let runner: Arc<dyn Runner> = match <[Choice; 1]>::try_from(chosen.choices) {
                // nothing to choose and nothing to say about it
                Ok([only]) if MakerId::parse(only.name).is_none() => only.runner,
                Ok([only]) => Arc::new(Choices { because: chosen.because, choices: vec![only] }),
                Err(choices) => Arc::new(Choices { because: chosen.because, choices }),
            };
            runners.insert(endpoint.id, runner);
        }
        let preload = config.preload.iter().map(|id| preloadable(id, config)).collect::<Result<_, _>>()?;
        let (keep_alive, makers, safety) = (config.keep_alive, config.makers.clone(), config.safety.clone());
        Ok(Self { runners, lanes, keep_alive, preload, far, makers, safety })
    }

    /// The endpoints that only makers far away answer.
    pub(crate) fn far(&self) -> &[&'static str] {
        &self.far
    }

    /// The makers, where there are any.
    pub(crate) fn makers(&self) -> Option<&Arc<Makers>> {
        self.makers.as_ref()
    }

    /// With runners of one's own, for tests.
    pub fn with(runners: HashMap<&'static str, Arc<dyn Runner>>) -> Self {
        let lanes = Arc::default();
        Self { runners, lanes, keep_alive: None, preload: Vec::new(), far: Vec::new(), makers: None, safety: None }
    }

    /// What looks at the pictures of models that run here, and what becomes of those that it flags.
    pub(crate) fn checks(&self) -> Option<Checks> {
        let safety = self.safety.as_ref()?;
        Some(Checks { checker: safety.checker.name().to_owned(), flagged: safety.flagged.name().to_owned() })
    }

    /// What callers of this endpoint get: everything that says how an endpoint stands has it from here, in this process
    /// or through what the worker announces.
    pub fn answers(&self, endpoint: &Endpoint) -> Answers {
        self.runner(endpoint).answers(endpoint)
    }

    /// What it computes on, as the owner names it.
    pub(crate) fn device(&self) -> String {
        self.lanes.names()
    }

    /// How many devices it computes on.
    pub(crate) fn devices(&self) -> usize {
        self.lanes.count()
    }

    /// Models that nobody has used for so long are let go.
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        self.keep_alive
    }

    /// Lets go of models that nobody has used for so long.
    pub(crate) fn let_go_idle(&self, longest: Duration) {
        self.lanes.let_go_idle(longest);
    }

    /// Endpoints whose models are loaded before anybody asks for them.
    pub(crate) fn preloaded(&self) -> Vec<&'static Endpoint> {
        self.preload.clone()
    }

    /// What answers this endpoint.
    pub fn runner(&self, endpoint: &Endpoint) -> Arc<dyn Runner> {
        self.runners.get(endpoint.id).cloned().unwrap_or_else(|| Arc::new(Advice))
    }
}

/// An endpoint that can be loaded before anybody asks for it.
fn preloadable(id: &str, config: &ModelsConfig) -> Result<&'static Endpoint, String> {
    let unknown = || format!("there is no endpoint {id}; `scumble models list` shows those that there are");
    let endpoint = scumble_api::find(id).ok_or_else(unknown)?;
    match source(endpoint, &config.models.get(id).cloned().unwrap_or_default()) {
        Some(_) => Ok(endpoint),
        None => Err(format!("{id} cannot be loaded at the start: it has no weights here")),
    }
}

/// Who may answer one endpoint.
struct Routing<'a> {
    endpoint: &'static Endpoint,
    own: &'a ModelConfig,
    config: &'a ModelsConfig,
    lanes: &'a Arc<Lanes>,
}

impl Routing<'_> {
    /// In the owner's order, or in the usual one.
    fn choices(&self) -> Result<Choices, String> {
        let Self { endpoint, own, .. } = self;
        if own.provider.is_empty() {
            return Ok(self.usual());
        }
        let choices: Vec<Choice> = own.provider.iter().map(|name| self.named(name)).collect::<Result<_, _>>()?;
        let because =
            format!("it is the first of {} in [models.\"{}\"] provider", own.provider.join(", "), endpoint.id);
        Ok(Choices { because, choices })
    }

    fn usual(&self) -> Choices {
        let Self { endpoint, config, .. } = self;
        let one = |choice: Choice, because: &str| Choices { because: because.to_owned(), choices: vec![choice] };
        if let Some(local) = self.local() {
            return one(local, "its weights are here");
        }
        let maker = config.makers.as_ref().and_then(|makers| Some((makers, makers.of(endpoint.id)?)));
        let stand_in =
            || config.stand_in.map(|pause| Choice { name: "stand-in", runner: Arc::new(StandIn::new(pause)) });
        match maker {
            Some((makers, id)) if makers.get(id).ready().is_ok() => {
                one(self.closed(makers, id), "it is the maker of this model, and its key is set")
            }
            // without a key, a maker says which one is missing, unless cards were asked for
            Some((makers, id)) => {
                one(stand_in().unwrap_or_else(|| self.closed(makers, id)), "it is the maker of this model")
            }
            None => {
                let advice = || Choice { name: "nobody", runner: Arc::new(Advice) };
                one(stand_in().unwrap_or_else(advice), "nothing else is configured")
            }
        }
    }

    fn local(&self) -> Option<Choice> {
        let source = source(self.endpoint, self.own)?;
        let local = Local::among(self.lanes, source, self.own.dtype).checked_by(self.config.safety.clone());
        Some(Choice { name: "local", runner: Arc::new(local) })
    }

    fn named(&self, name: &str) -> Result<Choice, String> {
        let id = self.endpoint.id;
        if name == "local" {
            // without weights it can only say so, and the next one is asked
            return Ok(self.local().unwrap_or(Choice { name: "local", runner: Arc::new(Advice) }));
        }
        if name == "stand-in" {
            let pause = self.config.stand_in.unwrap_or_default();
            return Ok(Choice { name: "stand-in", runner: Arc::new(StandIn::new(pause)) });
        }
        let known = || MakerId::ALL.map(MakerId::as_str).join(", ");
        let maker = MakerId::parse(name).ok_or_else(|| {
            format!("[models.\"{id}\"] provider: there is no {name}; there are local, {}, stand-in", known())
        })?;
        match &self.config.makers {
            Some(makers) if makers.get(maker).serves(id) => Ok(self.closed(makers, maker)),
            Some(_) => Err(format!("[models.\"{id}\"] provider: {} does not serve this endpoint", maker.name())),
            None => Err(format!("[models.\"{id}\"] provider: no makers are configured here")),
        }
    }

    fn closed(&self, makers: &Arc<Makers>, id: MakerId) -> Choice {
        let runner = Closed::new(makers.clone(), id, self.config.meters.clone());
        Choice { name: id.as_str(), runner: Arc::new(runner) }
    }
}

/// Has whoever looks at the meters see what is in memory, and what makers were paid today.
fn show(meters: &Meters, lanes: &Arc<Lanes>, makers: Option<&Arc<Makers>>) {
    // lanes count on these meters, so the meters must not hold them
    let (lanes, makers) = (Arc::downgrade(lanes), makers.cloned());
    meters.when_seen(move |to| {
        if let Some(lanes) = lanes.upgrade() {
            lanes.show(to);
        }
        for id in makers.iter().flat_map(|_| MakerId::ALL) {
            let spent = makers.as_ref().map_or(0.0, |makers| makers.spent(id).usd());
            to.makers.today.with_label_values(&[id.as_str()]).set(spent);
        }
    });
}

/// The weights of an endpoint: the owner's, or for the starter the ones in the binary.
pub fn source(endpoint: &Endpoint, own: &ModelConfig) -> Option<Source> {
    match (own.source(), endpoint.family) {
        (Some(source), _) => Some(source),
        (None, Family::Starter) => Some(starter()),
        (None, _) => None,
    }
}

/// Whether the engine can run a model for this endpoint: its own list of families says so.
pub fn engine_runs(endpoint: &Endpoint) -> bool {
    endpoint.pipeline().and_then(scumble_engine::families::find).is_some()
}

/// What an endpoint gets that nothing answers here.
pub(crate) fn nothing(endpoint: &Endpoint) -> Answers {
    Answers::Nothing { lack: lack(endpoint), advice: advice(endpoint) }
}

/// What an endpoint lacks that nothing answers here.
fn lack(endpoint: &Endpoint) -> Lack {
    match endpoint.family.maker() {
        Some(_) => Lack::Key,
        None if engine_runs(endpoint) => Lack::Weights,
        None => Lack::Engine,
    }
}

/// How to get what an endpoint lacks.
pub fn advice(endpoint: &Endpoint) -> String {
    let (id, family) = (endpoint.id, endpoint.family.title());
    let cards = "`scumble serve --stand-in` draws a placeholder in place of the picture";
    match (lack(endpoint), endpoint.family.maker()) {
        (_, Some(maker)) => {
            let (title, variable, name) = (maker.title(), maker.key_variable(), maker.name());
            format!(
                "{id} is a closed model of {title}, which is asked by `scumble serve` with the owner's key: set \
                 {variable}, or api_key in [providers.{name}]; or {cards}"
            )
        }
        (Lack::Weights, None) => {
            let fetched = published(id).map_or_else(String::new, |model| {
                let (size, licence) = (model.variants[0].size(), model.own().licence.name);
                format!("`scumble models pull {id}` fetches them ({size}, {licence}). Or give ")
            });
            let give = if fetched.is_empty() { "Give " } else { "" };
            format!(
                "{id} has no weights here. {fetched}{give}it a diffusers folder or a file of weights: `scumble serve \
                 --weights {id}=PATH` or `scumble run {id} PROMPT --weights PATH`; or {cards}"
            )
        }
        (Lack::Key | Lack::Engine, None) => {
            format!("{id} needs {family}, which the engine cannot run yet; {cards}")
        }
    }
}

/// Answers with what to do.
struct Advice;

#[async_trait::async_trait]
impl Runner for Advice {
    fn answers(&self, endpoint: &Endpoint) -> Answers {
        nothing(endpoint)
    }

    async fn run(&self, request: Request, _watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        Err(RunError::Unavailable(advice(request.endpoint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_runs_follows_from_its_one_list() {
        let runs = |id: &str| scumble_api::find(id).is_some_and(engine_runs);
        for id in [
            "scumble/starter",
            "fal-ai/flux/schnell",
            "fal-ai/flux/dev",
            "fal-ai/aura-flow",
            "fal-ai/f-lite/standard",
            "fal-ai/f-lite/texture",
            "fal-ai/stable-diffusion-v35-large",
            "fal-ai/flux-pro/v1/fill",
            "fal-ai/hidream-i1-full",
            "fal-ai/hidream-i1-dev",
            "fal-ai/hidream-i1-fast",
            "fal-ai/omnigen-v2",
        ] {
            assert!(runs(id), "{id}");
        }
        for id in ["fal-ai/flux-pro", "fal-ai/ideogram/v2"] {
            assert!(!runs(id), "{id}");
        }
    }
}
