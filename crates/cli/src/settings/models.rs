//! Which weights answer which endpoint, and on what.

use std::collections::HashMap;

use scumble_worker::{ModelConfig, ModelsConfig};

use super::file::{ModelSection, WorkerSection};
use crate::args::Serve;
use crate::failure::Failure;

pub(super) fn config(
    sections: HashMap<String, ModelSection>,
    worker: &WorkerSection,
    args: &Serve,
) -> Result<ModelsConfig, Failure> {
    let device = match worker.devices.as_deref() {
        None | Some([]) => None,
        Some([device]) => Some(device.clone()),
        Some(_) => return Err(Failure::Usage("[worker] devices: one device is used for now".into())),
    };
    let mut models: HashMap<String, ModelConfig> = sections
        .into_iter()
        .map(|(id, ModelSection { weights, dtype })| (id, ModelConfig { weights, dtype: dtype.map(Into::into) }))
        .collect();
    for (id, folder) in &args.weights {
        models.entry(id.clone()).or_default().weights = Some(folder.clone());
    }
    Ok(ModelsConfig { models, device, stand_in: args.stand_in })
}
