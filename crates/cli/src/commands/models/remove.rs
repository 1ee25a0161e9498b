//! `scumble models remove`.

use scumble_api::published::{all, checker, gigabytes, published};

use crate::args::ModelsRemove;
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::settings::fetched_models;

/// Removes the model of an endpoint, and all of its bytes that nothing else uses.
pub(super) fn remove(args: &ModelsRemove) -> Result<(), Failure> {
    let published = match (checker(&args.id), scumble_api::find(&args.id)) {
        (Some(checker), _) => Some(checker),
        (None, Some(endpoint)) => published(endpoint.id),
        (None, None) => return Err(meant::unknown_endpoint(&args.id)),
    };
    let none = || Failure::Weights(format!("of {} nothing was fetched; `scumble models list` shows what was", args.id));
    let (Some(model), Some(models)) = (published, fetched_models()) else { return Err(none()) };
    let others: Vec<&str> = all().map(|other| other.name).filter(|name| *name != model.name).collect();
    let freed = models.remove(model.name, &others)?.ok_or_else(none)?;
    let answered: Vec<_> = model.endpoints.iter().filter(|id| **id != args.id).copied().collect();
    if !answered.is_empty() {
        out::say(&format!("{} answers no more either", answered.join(", ")));
    }
    out::result(&format!("{} is removed; {} are free again", model.name, gigabytes(freed)))
}
