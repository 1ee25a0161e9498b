//! What answers each endpoint here: local weights, a stand-in, or nothing but advice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use scumble_api::{ENDPOINTS, Endpoint, Family};
use scumble_engine::DType;
use scumble_engine::checkpoint::{Precision, Source};
use scumble_engine::pipelines::device;

use crate::runner::{Drawn, Local, Model, Request, RunError, Runner, StandIn, Watch};
use crate::weights::starter;

/// What the owner configured for one endpoint.
#[derive(Clone, Debug, Default)]
pub struct ModelConfig {
    /// A diffusers folder.
    pub weights: Option<PathBuf>,
    /// Number type of computation; the file's own where absent.
    pub dtype: Option<DType>,
}

/// What the owner configured for all of them.
#[derive(Clone, Debug, Default)]
pub struct ModelsConfig {
    /// By endpoint id.
    pub models: HashMap<String, ModelConfig>,
    /// Device name, `cpu` where absent.
    pub device: Option<String>,
    /// Cards stand in for endpoints that nothing else answers, after this time.
    pub stand_in: Option<Duration>,
}

/// A runner for each endpoint.
pub struct Models {
    runners: HashMap<&'static str, Arc<dyn Runner>>,
}

impl Models {
    /// Reads nothing but the configuration; weights are opened at the first job.
    ///
    /// # Errors
    /// A device that this build does not reach, or weights for an endpoint that does not exist.
    pub fn new(config: &ModelsConfig) -> Result<Self, String> {
        if let Some(unknown) = config.models.keys().find(|id| scumble_api::find(id).is_none()) {
            let known: Vec<_> = ENDPOINTS.iter().map(|e| e.id).collect();
            return Err(format!("there is no endpoint {unknown}; there are {}", known.join(", ")));
        }
        let device = device(config.device.as_deref().unwrap_or("cpu")).map_err(|e| e.to_string())?;
        let runner = |endpoint: &Endpoint| -> Arc<dyn Runner> {
            let own = config.models.get(endpoint.id).cloned().unwrap_or_default();
            let precision = Precision { device: device.clone(), dtype: own.dtype };
            match (source(endpoint, own.weights.as_deref()), config.stand_in) {
                (Some(source), _) => Arc::new(Local::new(Model { source, precision })),
                (None, Some(pause)) => Arc::new(StandIn::new(pause)),
                (None, None) => Arc::new(Advice),
            }
        };
        Ok(Self { runners: ENDPOINTS.iter().map(|e| (e.id, runner(e))).collect() })
    }

    /// With runners of one's own, for tests.
    pub fn with(runners: HashMap<&'static str, Arc<dyn Runner>>) -> Self {
        Self { runners }
    }

    /// What answers this endpoint.
    pub fn runner(&self, endpoint: &Endpoint) -> Arc<dyn Runner> {
        self.runners.get(endpoint.id).cloned().unwrap_or_else(|| Arc::new(Advice))
    }
}

/// The weights of an endpoint: the owner's folder, or for the starter the ones in the binary.
pub fn source(endpoint: &Endpoint, folder: Option<&Path>) -> Option<Source> {
    match (folder, endpoint.family) {
        (Some(folder), _) => Some(Source::Folder(folder.to_owned())),
        (None, Family::Starter) => Some(starter()),
        (None, Family::FluxSchnell | Family::FluxDev) => None,
    }
}

/// How to get weights for an endpoint that has none.
pub fn advice(endpoint: &Endpoint) -> String {
    format!(
        "{id} has no weights here. Give it a diffusers folder: `scumble serve --weights {id}=DIR` or `scumble run {id} \
         PROMPT --weights DIR`; or run `scumble serve --stand-in` to get cards instead of pictures",
        id = endpoint.id
    )
}

/// Answers with what to do.
struct Advice;

#[async_trait::async_trait]
impl Runner for Advice {
    async fn run(&self, request: Request, _watch: Arc<dyn Watch>) -> Result<Drawn, RunError> {
        Err(RunError::Unavailable(advice(request.endpoint)))
    }
}
