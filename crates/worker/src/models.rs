//! What answers each endpoint here: local weights, a stand-in, or nothing but advice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use scumble_api::{Answers, ENDPOINTS, Endpoint, Family, Lack};
use scumble_engine::DType;
use scumble_engine::device;
use scumble_engine::weights::{Precision, Source};
use scumble_providers::{MakerId, Makers};

use crate::runner::{
    Choice, Choices, Closed, Drawn, Local, Model, Request, Residency, RunError, Runner, StandIn, Watch,
};
use crate::weights::starter;

/// What the owner configured for one endpoint.
#[derive(Clone, Debug, Default)]
pub struct ModelConfig {
    /// A diffusers folder.
    pub weights: Option<PathBuf>,
    /// Where Llama 3.1 is, for HiDream-I1; inside or beside the weights where absent.
    pub llama: Option<PathBuf>,
    /// Number type of computation; the file's own where absent.
    pub dtype: Option<DType>,
    /// Who answers, in this order: `local`, a maker's name, `stand-in`. Where empty: weights, then the model's own
    /// maker, then stand-ins, each as far as it is there.
    pub provider: Vec<String>,
}

/// What the owner configured for all of them.
#[derive(Clone, Default)]
pub struct ModelsConfig {
    /// By endpoint id.
    pub models: HashMap<String, ModelConfig>,
    /// Device name, `cpu` where absent.
    pub device: Option<String>,
    /// Cards stand in for endpoints that nothing else answers, after this time.
    pub stand_in: Option<Duration>,
    /// The makers of closed models.
    pub makers: Option<Arc<Makers>>,
}

/// A runner for each endpoint.
pub struct Models {
    runners: HashMap<&'static str, Arc<dyn Runner>>,
    /// What it computes on, as the owner names it.
    device: String,
    /// Endpoints that are answered far away: they wait for others, not for this machine.
    far: Vec<&'static str>,
    makers: Option<Arc<Makers>>,
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
        config.models.iter().try_for_each(|(id, own)| check_llama(id, own))?;
        let named = config.device.as_deref().unwrap_or("cpu");
        let device = device(named).map_err(|e| e.to_string())?;
        let (mut runners, mut far) = (HashMap::new(), Vec::new());
        let residency = Residency::default();
        for endpoint in ENDPOINTS {
            let own = config.models.get(endpoint.id).cloned().unwrap_or_default();
            let precision = Precision { device: device.clone(), dtype: own.dtype };
            let chosen = Routing { endpoint, own: &own, precision, config, residency: &residency }.choices()?;
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
        Ok(Self { runners, device: named.to_owned(), far, makers: config.makers.clone() })
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
        Self { runners, device: "cpu".to_owned(), far: Vec::new(), makers: None }
    }

    /// What callers of this endpoint get: everything that says how an endpoint stands has it from here, in this process
    /// or through what the worker announces.
    pub fn answers(&self, endpoint: &Endpoint) -> Answers {
        self.runner(endpoint).answers(endpoint)
    }

    /// What it computes on, as the owner names it.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// What answers this endpoint.
    pub fn runner(&self, endpoint: &Endpoint) -> Arc<dyn Runner> {
        self.runners.get(endpoint.id).cloned().unwrap_or_else(|| Arc::new(Advice))
    }
}

/// Who may answer one endpoint.
struct Routing<'a> {
    endpoint: &'static Endpoint,
    own: &'a ModelConfig,
    precision: Precision,
    config: &'a ModelsConfig,
    residency: &'a Residency,
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
                one(closed(makers, id), "it is the maker of this model, and its key is set")
            }
            // without a key, a maker says which one is missing, unless cards were asked for
            Some((makers, id)) => {
                one(stand_in().unwrap_or_else(|| closed(makers, id)), "it is the maker of this model")
            }
            None => {
                let advice = || Choice { name: "nobody", runner: Arc::new(Advice) };
                one(stand_in().unwrap_or_else(advice), "nothing else is configured")
            }
        }
    }

    fn local(&self) -> Option<Choice> {
        let source = self.own.source(self.endpoint)?;
        let model = Model { source, precision: self.precision.clone() };
        Some(Choice { name: "local", runner: Arc::new(Local::among(self.residency, model)) })
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
            Some(makers) if makers.get(maker).serves(id) => Ok(closed(makers, maker)),
            Some(_) => Err(format!("[models.\"{id}\"] provider: {} does not serve this endpoint", maker.name())),
            None => Err(format!("[models.\"{id}\"] provider: no makers are configured here")),
        }
    }
}

fn closed(makers: &Arc<Makers>, id: MakerId) -> Choice {
    Choice { name: id.as_str(), runner: Arc::new(Closed::new(makers.clone(), id)) }
}

impl ModelConfig {
    /// The weights of an endpoint that is configured like this.
    pub fn source(&self, endpoint: &Endpoint) -> Option<Source> {
        match (&self.weights, &self.llama) {
            (Some(folder), Some(llama)) => {
                Some(Source::FolderAndLlama { folder: folder.clone(), llama: llama.clone() })
            }
            (folder, _) => source(endpoint, folder.as_deref()),
        }
    }
}

/// The weights of an endpoint: the owner's folder, or for the starter the ones in the binary.
pub fn source(endpoint: &Endpoint, folder: Option<&Path>) -> Option<Source> {
    match (folder, endpoint.family) {
        (Some(folder), _) => Some(Source::Folder(folder.to_owned())),
        (None, Family::Starter) => Some(starter()),
        (None, _) => None,
    }
}

/// Only HiDream-I1 reads with Llama, and where it has no weights there is nothing to read for.
fn check_llama(id: &str, own: &ModelConfig) -> Result<(), String> {
    let reads = scumble_api::find(id).is_some_and(|endpoint| endpoint.family == Family::HiDream);
    match (&own.llama, &own.weights) {
        (None, _) => Ok(()),
        (Some(_), _) if !reads => {
            Err(format!("[models.\"{id}\"] llama: this model does not read with Llama; HiDream-I1 does"))
        }
        (Some(_), None) => Err(format!("[models.\"{id}\"] llama: it goes with weights, which are not set")),
        (Some(_), Some(_)) => Ok(()),
    }
}

/// Whether the engine can run a model for this endpoint: its own list of families says so.
fn engine_runs(endpoint: &Endpoint) -> bool {
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
        (Lack::Weights, None) => format!(
            "{id} has no weights here. Give it a diffusers folder: `scumble serve --weights {id}=DIR` or `scumble run \
             {id} PROMPT --weights DIR`; or {cards}"
        ),
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
        ] {
            assert!(runs(id), "{id}");
        }
        for id in ["fal-ai/flux-pro", "fal-ai/ideogram/v2", "fal-ai/omnigen-v2"] {
            assert!(!runs(id), "{id}");
        }
    }
}
