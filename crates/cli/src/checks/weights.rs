//! Whether the folders of weights can be used: everything but the tensors themselves is read, so that a folder of 30 GB
//! takes a moment and a wrong one is found out before the first job.

use std::path::Path;

use scumble_api::Endpoint;
use scumble_engine::families;
use scumble_engine::weights::Source;
use scumble_worker::ModelsConfig;

use super::{Details, Finding};
use crate::failure::Failure;

/// What was found, and where weights cannot be used everything that is wrong with them.
pub(super) fn check(models: &ModelsConfig) -> (Finding, Vec<Details>) {
    let mut folders: Vec<_> = models.models.iter().filter_map(|(id, own)| Some((id, own.weights.as_ref()?))).collect();
    folders.sort();
    let (mut problems, mut details) = (Vec::new(), Vec::new());
    for (id, folder) in &folders {
        let wrong = all_wrong(id, folder);
        let Some(said) = in_short(&wrong) else { continue };
        problems.push(Failure::Weights(format!("{id}: {said}")));
        if wrong.len() > 1 {
            details.push(Details { of: (*id).clone(), lines: wrong });
        }
    }
    let finding = match Failure::of(problems) {
        Some(failure) => Finding::Fails(failure),
        None => Finding::Well(match folders.len() {
            0 => "the starter's".to_owned(),
            1 => "the starter's, and those in one folder".to_owned(),
            n => format!("the starter's, and those in {n} folders"),
        }),
    };
    (finding, details)
}

/// Why this endpoint cannot be answered from a folder of weights, if it cannot.
pub(crate) fn unusable(id: &str, folder: &Path) -> Option<String> {
    in_short(&all_wrong(id, folder))
}

fn all_wrong(id: &str, folder: &Path) -> Vec<String> {
    let class = scumble_api::find(id).and_then(Endpoint::pipeline);
    families::examine(class, Source::Folder(folder.to_owned())).iter().map(ToString::to_string).collect()
}

/// The first, and how many more there are.
fn in_short(wrong: &[String]) -> Option<String> {
    let (first, more) = wrong.split_first()?;
    Some(match more.len() {
        0 => first.clone(),
        more => format!("{first}, and {more} more; `scumble doctor` lists them all"),
    })
}
