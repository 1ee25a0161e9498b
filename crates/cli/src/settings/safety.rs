//! What looks at finished pictures: `[safety]`.

use std::path::PathBuf;
use std::sync::Arc;

use scumble_engine::checkers::{Checker, CheckerKind};
use scumble_worker::runner::{Flagged, SafetyConfig};

use super::hub::fetched_checker;
use super::sections::{CheckerName, FlaggedName, SafetySection};
use crate::failure::Failure;

/// Nobody, where no checker is named.
pub(super) fn config(section: SafetySection) -> Result<Option<Arc<SafetyConfig>>, Failure> {
    let SafetySection { checker, weights, flagged } = section;
    let Some(checker) = checker else {
        return match weights.is_some() || flagged.is_some() {
            true => Err(Failure::Usage(
                "[safety]: weights and flagged go with checker, \"compvis\" or \"falconsai\"".into(),
            )),
            false => Ok(None),
        };
    };
    let checker = match checker {
        CheckerName::Compvis => CheckerKind::CompVis,
        CheckerName::Falconsai => CheckerKind::Falconsai,
    };
    let flagged = match flagged.unwrap_or(FlaggedName::Flag) {
        FlaggedName::Flag => Flagged::Flag,
        FlaggedName::Black => Flagged::Black,
        FlaggedName::Refuse => Flagged::Refuse,
    };
    // what the owner names goes before what was fetched; that there is neither is found out by whoever needs it
    let weights: Option<PathBuf> = weights.or_else(|| fetched_checker(checker.name()));
    Ok(Some(Arc::new(SafetyConfig { checker, weights: weights.unwrap_or_default(), flagged })))
}

/// Why this checker cannot be used, if it cannot: everything but its tensors is read.
pub(crate) fn useless(safety: &SafetyConfig) -> Option<Failure> {
    let name = safety.checker.name();
    let said = match safety.weights.as_os_str().is_empty() {
        true => format!(
            "the files of {} are not here: `scumble models pull {name}` fetches them, or weights names the folder that has them",
            safety.checker.repository()
        ),
        false => Checker::examine(safety.checker, &safety.weights).err()?.to_string(),
    };
    Some(Failure::Weights(format!("[safety] checker: {name} cannot be used: {said}")))
}
