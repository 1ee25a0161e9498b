//! Which weights answer which endpoint, and on what.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use scumble_api::published::PUBLISHED;
use scumble_worker::makers::Makers;
use scumble_worker::{ModelConfig, ModelsConfig};

use super::file::{ModelSection, OneOrMore, WorkerSection};
use super::hub::{all_fetched, usable};
use crate::failure::Failure;
use crate::meant;

pub(super) fn config(
    sections: HashMap<String, ModelSection>,
    worker: &WorkerSection,
    weights: &[(String, PathBuf)],
    stand_in: Option<Duration>,
    makers: Arc<Makers>,
) -> Result<ModelsConfig, Failure> {
    if let Some(unknown) = sections.keys().find(|id| scumble_api::find(id).is_none()) {
        return Err(Failure::Usage(format!("[models.\"{unknown}\"]: {}", meant::no_endpoint(unknown))));
    }
    let device = match worker.devices.as_deref() {
        None | Some([]) => None,
        Some([device]) => Some(device.clone()),
        Some(_) => return Err(Failure::Usage("[worker] devices: only one device can be used for now".into())),
    };
    let mut models: HashMap<String, ModelConfig> = sections
        .into_iter()
        .map(|(id, ModelSection { weights, dtype, provider })| {
            let provider = provider.map(OneOrMore::into_list).unwrap_or_default();
            (id, ModelConfig { weights, dtype: dtype.map(Into::into), provider })
        })
        .collect();
    for (id, folder) in weights {
        models.entry(id.clone()).or_default().weights = Some(folder.clone());
    }
    for whole in all_fetched() {
        let (Some(folder), Some(model)) = (usable(&whole), PUBLISHED.iter().find(|model| model.name == whole.model))
        else {
            continue;
        };
        // what the owner names goes before what was fetched
        for id in model.endpoints {
            models.entry((*id).to_owned()).or_default().weights.get_or_insert_with(|| folder.to_owned());
        }
    }
    Ok(ModelsConfig { models, device, stand_in, makers: Some(makers) })
}
