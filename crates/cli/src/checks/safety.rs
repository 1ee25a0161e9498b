//! Whether the checker can be loaded that the owner has set: a server that cannot look at pictures does not start.

use scumble_engine::checkers::Checker;
use scumble_worker::ModelsConfig;

use super::Finding;
use crate::failure::Failure;

pub(super) fn check(models: &ModelsConfig) -> Finding {
    let Some(safety) = &models.safety else {
        return Finding::Well(
            "no checker is set ([safety] checker): nothing looks at pictures that are made here".into(),
        );
    };
    let name = safety.checker.name();
    let examined = Checker::examine(safety.checker, &safety.weights);
    examined
        .map(|()| format!("{name} looks at pictures that are made here; flagged = \"{}\"", safety.flagged.name()))
        .map_err(|error| Failure::Weights(format!("[safety] checker: {name} cannot be used: {error}")))
        .into()
}
