//! How many endpoints are answered, and by what. None has to be; those that the engine has no model for are named.

use scumble_api::{ENDPOINTS, Standing};
use scumble_worker::{Models, ModelsConfig};

use super::Finding;
use crate::standing::standing;

pub(super) fn check(config: &ModelsConfig, models: &Models) -> Finding {
    let mut groups: Vec<(Standing, Vec<&str>)> = Vec::new();
    for endpoint in ENDPOINTS {
        let found = standing(config, models, endpoint);
        match groups.iter_mut().find(|(known, _)| known.word == found.word) {
            Some((_, ids)) => ids.push(endpoint.id),
            None => groups.push((found, vec![endpoint.id])),
        }
    }
    let group = |(standing, ids): &(Standing, Vec<&str>)| {
        let label = standing.label.to_lowercase();
        match standing.word {
            "not-yet" => format!("{label}: {} ({})", ids.len(), ids.join(", ")),
            _ => format!("{label}: {}", ids.len()),
        }
    };
    Finding::Well(groups.iter().map(group).collect::<Vec<_>>().join("; "))
}
