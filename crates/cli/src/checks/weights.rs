//! Whether the folders of weights can be used: everything but the tensors themselves is read, so that a folder of 30 GB
//! takes a moment and a wrong one is found out before the first job.

use scumble_api::Endpoint;
use scumble_engine::families;
use scumble_engine::weights::Source;
use scumble_worker::runner::swapped_guidance;
use scumble_worker::{ModelConfig, ModelsConfig};

use super::{Details, Finding, Purpose};
use crate::failure::Failure;

/// What was found, and where weights cannot be used everything that is wrong with them.
///
/// Who looks finds the rest below the line; who starts a server is told where to look.
pub(super) fn check(models: &ModelsConfig, purpose: Purpose) -> (Finding, Vec<Details>) {
    let folders = folders(models);
    let rest = match purpose {
        Purpose::Look => "all are listed below",
        Purpose::Start => DOCTOR,
    };
    let (mut problems, mut details) = (Vec::new(), Vec::new());
    for (id, source) in &folders {
        let wrong = all_wrong(id, source.clone());
        let Some(said) = in_short(&wrong, rest) else { continue };
        problems.push(Failure::Weights(format!("{id}: {said}")));
        if wrong.len() > 1 {
            details.push(Details { of: (*id).to_owned(), lines: wrong });
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

/// Where all that is wrong can be read.
const DOCTOR: &str = "`scumble doctor` lists them all";

/// Folders that can be used, and hold another model of the same class than the endpoint's: their owner may mean it.
pub(super) fn swapped(models: &ModelsConfig) -> Vec<Finding> {
    let odd = |(id, source): (&str, Source)| {
        let said = swapped_guidance(scumble_api::find(id)?, &source)?;
        Some(Finding::Odd(format!("{id}: {said}")))
    };
    folders(models).into_iter().filter_map(odd).collect()
}

/// Endpoints and their folders, sorted.
fn folders(models: &ModelsConfig) -> Vec<(&str, Source)> {
    let named = models.models.iter().filter_map(|(id, own)| {
        own.weights.as_ref()?;
        Some((id.as_str(), own.source(scumble_api::find(id)?)?))
    });
    let mut folders: Vec<_> = named.collect();
    folders.sort_by_key(|(id, _)| *id);
    folders
}

/// Why this endpoint cannot be answered from its folder of weights, if it cannot.
pub(crate) fn unusable(endpoint: &Endpoint, own: &ModelConfig) -> Option<String> {
    own.weights.as_ref()?;
    in_short(&all_wrong(endpoint.id, own.source(endpoint)?), DOCTOR)
}

fn all_wrong(id: &str, source: Source) -> Vec<String> {
    let class = scumble_api::find(id).and_then(Endpoint::pipeline);
    families::examine(class, source).iter().map(ToString::to_string).collect()
}

/// The first, how many more there are, and where the rest is.
fn in_short(wrong: &[String], rest: &str) -> Option<String> {
    let (first, more) = wrong.split_first()?;
    Some(match more.len() {
        0 => first.clone(),
        more => format!("{first}, and {more} more; {rest}"),
    })
}
