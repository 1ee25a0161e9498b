//! Whether the checker can be loaded that the owner has set: a server that cannot look at pictures does not start.

use scumble_worker::ModelsConfig;

use super::Finding;
use crate::settings::useless;

pub(super) fn check(models: &ModelsConfig) -> Finding {
    let Some(safety) = &models.safety else {
        return Finding::Well(
            "no checker is set ([safety] checker): nothing looks at pictures that are made here".into(),
        );
    };
    match useless(safety) {
        Some(failure) => Finding::Fails(failure),
        None => Finding::Well(format!(
            "{} looks at pictures that are made here; flagged = \"{}\"",
            safety.checker.name(),
            safety.flagged.name()
        )),
    }
}
