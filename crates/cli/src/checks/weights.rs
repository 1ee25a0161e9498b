//! Whether weights can be used: everything but the tensors themselves is read, so that a folder of 30 GB
//! takes a moment and a wrong one is found out before the first job.

use std::path::Path;

use scumble_api::Endpoint;
use scumble_engine::families;
use scumble_engine::weights::Source;
use scumble_worker::ModelsConfig;
use scumble_worker::runner::swapped_guidance;

use super::{Details, Finding, Purpose};
use crate::failure::Failure;
use crate::settings::{self, all_fetched};

/// What was found, and where weights cannot be used everything that is wrong with them.
///
/// Who looks finds the rest below the line; who starts a server is told where to look.
pub(super) fn check(models: &ModelsConfig, purpose: Purpose) -> (Finding, Vec<Details>) {
    let sources = sources(models);
    let rest = match purpose {
        Purpose::Look => "all are listed below",
        Purpose::Start => DOCTOR,
    };
    let (mut problems, mut details) = (Vec::new(), Vec::new());
    for (id, source) in &sources {
        let wrong = all_wrong(id, source);
        let Some(said) = in_short(&wrong, rest) else { continue };
        problems.push(Failure::Weights(format!("{id}: {said}")));
        if wrong.len() > 1 {
            details.push(Details { of: (*id).to_owned(), lines: wrong });
        }
    }
    let finding = match Failure::of(problems) {
        Some(failure) => Finding::Fails(failure),
        None => Finding::Well(match sources.len() {
            0 => "the starter's".to_owned(),
            1 => "the starter's, and those of one endpoint".to_owned(),
            n => format!("the starter's, and those of {n} endpoints"),
        }),
    };
    (finding, details)
}

/// Where all that is wrong can be read.
const DOCTOR: &str = "`scumble doctor` lists them all";

/// Weights that can be used, and are of another model of the same class than the endpoint's: their owner may mean it.
pub(super) fn swapped(models: &ModelsConfig) -> Vec<Finding> {
    let odd = |(id, source): (&str, Source)| {
        let said = swapped_guidance(scumble_api::find(id)?, &source)?;
        Some(Finding::Odd(format!("{id}: {said}")))
    };
    sources(models).into_iter().filter_map(odd).collect()
}

/// Models that were fetched and cannot be used any more: endpoints that nobody else answers lack weights then.
pub(super) fn lost() -> Vec<Finding> {
    all_fetched().iter().filter_map(settings::lost).map(Finding::Odd).collect()
}

/// Endpoints and their weights, sorted.
fn sources(models: &ModelsConfig) -> Vec<(&str, Source)> {
    let named = models.models.iter().filter_map(|(id, own)| Some((id.as_str(), own.source()?)));
    let mut sources: Vec<_> = named.collect();
    sources.sort_by_key(|(id, _)| *id);
    sources
}

/// Why this endpoint cannot be answered from its weights, if it cannot.
pub(crate) fn unusable(id: &str, source: &Source) -> Option<String> {
    in_short(&all_wrong(id, source), DOCTOR)
}

fn all_wrong(id: &str, source: &Source) -> Vec<String> {
    if let Some(said) = source_path(source).and_then(|path| settings::nowhere(id, path)) {
        return vec![said];
    }
    let class = scumble_api::find(id).and_then(Endpoint::pipeline);
    families::examine(class, source.clone()).iter().map(ToString::to_string).collect()
}

/// What its owner named, where that is one.
fn source_path(source: &Source) -> Option<&Path> {
    match source {
        Source::Folder(path) => Some(path),
        Source::Assembled(assembly) => Some(&assembly.weights),
        Source::Embedded { .. } => None,
    }
}

/// The first, how many more there are, and where the rest is.
fn in_short(wrong: &[String], rest: &str) -> Option<String> {
    let (first, more) = wrong.split_first()?;
    Some(match more.len() {
        0 => first.clone(),
        more => format!("{first}, and {more} more; {rest}"),
    })
}
