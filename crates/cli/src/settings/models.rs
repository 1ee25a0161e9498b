//! Which weights answer which endpoint, and on what.

use std::collections::HashMap;
use std::sync::Arc;

use scumble_worker::makers::Makers;
use scumble_worker::{ModelConfig, ModelsConfig};

use super::file::{ModelSection, OneOrMore, WorkerSection};
use crate::args::Serve;
use crate::failure::Failure;

pub(super) fn config(
    sections: HashMap<String, ModelSection>,
    worker: &WorkerSection,
    args: &Serve,
    makers: Arc<Makers>,
) -> Result<ModelsConfig, Failure> {
    let device = match worker.devices.as_deref() {
        None | Some([]) => None,
        Some([device]) => Some(device.clone()),
        Some(_) => return Err(Failure::Usage("[worker] devices: one device is used for now".into())),
    };
    let mut models: HashMap<String, ModelConfig> = sections
        .into_iter()
        .map(|(id, ModelSection { weights, dtype, provider })| {
            let provider = provider.map(OneOrMore::into_list).unwrap_or_default();
            (id, ModelConfig { weights, dtype: dtype.map(Into::into), provider })
        })
        .collect();
    for (id, folder) in &args.weights {
        models.entry(id.clone()).or_default().weights = Some(folder.clone());
    }
    Ok(ModelsConfig { models, device, stand_in: args.stand_in, makers: Some(makers) })
}
