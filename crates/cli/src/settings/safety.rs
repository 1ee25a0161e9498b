//! What looks at finished pictures: `[safety]`.

use std::path::PathBuf;
use std::sync::Arc;

use scumble_engine::checkers::CheckerKind;
use scumble_worker::runner::{Flagged, SafetyConfig};

use super::file::{CheckerName, FlaggedName, SafetySection};
use super::hub::fetched_checker;
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
    // what the owner names goes before what was fetched
    let weights: Option<PathBuf> = weights.or_else(|| fetched_checker(checker.name()));
    let weights = weights.ok_or_else(|| {
        Failure::Weights(format!(
            "[safety] checker: the files of {name} are not here: `scumble models pull {name}` fetches them, or weights names \
             the folder that has those of {}",
            checker.repository(),
            name = checker.name(),
        ))
    })?;
    Ok(Some(Arc::new(SafetyConfig { checker, weights, flagged })))
}
