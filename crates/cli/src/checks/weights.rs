//! Whether the folders of weights can be used: everything but the tensors themselves is read, so that a folder of 30 GB
//! takes a moment and a wrong one is found out before the first job.

use std::path::Path;

use scumble_engine::families;
use scumble_engine::weights::Source;
use scumble_worker::ModelsConfig;

use super::Finding;
use crate::failure::Failure;

pub(super) fn check(models: &ModelsConfig) -> Finding {
    let mut folders: Vec<_> = models.models.iter().filter_map(|(id, own)| Some((id, own.weights.as_ref()?))).collect();
    folders.sort();
    let problems = folders.iter().filter_map(|(id, folder)| Some(format!("{id}: {}", unusable(folder)?)));
    match Failure::of(problems.map(Failure::Weights).collect()) {
        Some(failure) => Finding::Fails(failure),
        None => Finding::Well(match folders.len() {
            0 => "the starter's".to_owned(),
            1 => "the starter's, and those in one folder".to_owned(),
            n => format!("the starter's, and those in {n} folders"),
        }),
    }
}

/// Why a folder of weights cannot be used, if it cannot.
pub(crate) fn unusable(folder: &Path) -> Option<String> {
    families::examine(Source::Folder(folder.to_owned())).err().map(|error| error.to_string())
}
