//! Whose closed models can be asked for. None has to be.

use scumble_worker::ModelsConfig;
use scumble_worker::makers::MakerId;

use super::Finding;

pub(super) fn check(models: &ModelsConfig) -> Finding {
    let Some(makers) = &models.makers else { return Finding::Well("none are asked".to_owned()) };
    let (with, without): (Vec<_>, Vec<_>) = MakerId::ALL.into_iter().partition(|id| makers.get(*id).ready().is_ok());
    let list = |ids: Vec<MakerId>| ids.into_iter().map(MakerId::name).collect::<Vec<_>>().join(", ");
    Finding::Well(match (with.is_empty(), without.is_empty()) {
        (true, _) => "no keys, so closed models are not answered (docs/MAKERS.md)".to_owned(),
        (false, true) => format!("keys for {}", list(with)),
        (false, false) => format!("keys for {}; none for {}", list(with), list(without)),
    })
}
