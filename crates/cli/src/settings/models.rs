//! Which weights answer which endpoint, and on what.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use scumble_api::published::PUBLISHED;
use scumble_worker::makers::Makers;
use scumble_worker::{ModelConfig, ModelsConfig};

use super::hub::{all_fetched, tokenizers, usable};
use super::own::located;
use super::sections::{ModelSection, OneOrMore, WorkerSection};
use super::units;
use crate::failure::Failure;
use crate::meant;

pub(super) fn config(
    sections: HashMap<String, ModelSection>,
    worker: &WorkerSection,
    weights: &[(String, PathBuf)],
    preload: &[String],
    stand_in: Option<Duration>,
    makers: Arc<Makers>,
) -> Result<ModelsConfig, Failure> {
    if let Some(unknown) = sections.keys().find(|id| scumble_api::find(id).is_none()) {
        return Err(Failure::Usage(format!("[models.\"{unknown}\"]: {}", meant::no_endpoint(unknown))));
    }
    let devices = worker.devices.clone().unwrap_or_default();
    let memory = units::bytes("[worker] memory", worker.memory.as_ref())?;
    let keep_alive = units::seconds("[worker] keep_alive_s", worker.keep_alive_s.as_ref())?;
    let mut models: HashMap<String, ModelConfig> = sections
        .into_iter()
        .map(|(id, ModelSection { weights, weights_base: base, components, dtype, provider })| {
            let provider = provider.map(OneOrMore::into_list).unwrap_or_default();
            let weights = weights.as_deref().map(located);
            (
                id,
                ModelConfig {
                    weights,
                    base,
                    components,
                    dtype: dtype.map(Into::into),
                    provider,
                    ..ModelConfig::default()
                },
            )
        })
        .collect();
    for (id, folder) in weights {
        models.entry(id.clone()).or_default().weights = Some(located(folder));
    }
    for whole in all_fetched() {
        let (Some(fetched), Some(model)) = (usable(&whole), PUBLISHED.iter().find(|model| model.name == whole.model))
        else {
            continue;
        };
        for id in model.endpoints {
            models.entry((*id).to_owned()).or_default().complete(&fetched);
        }
    }
    for (id, own) in models.iter_mut().filter(|(_, own)| own.weights.as_deref().is_some_and(Path::is_file)) {
        own.tokenizers = tokenizers(id);
    }
    if let Some((id, _)) = models.iter().find(|(_, own)| own.weights.is_none() && own.has_parts()) {
        return Err(Failure::Usage(format!(
            "[models.\"{id}\"]: weights_base and components go with weights, a diffusers folder or a file of weights"
        )));
    }
    let (preload, makers) = (preload.to_vec(), Some(makers));
    Ok(ModelsConfig { models, devices, memory, keep_alive, preload, stand_in, makers, ..ModelsConfig::default() })
}
