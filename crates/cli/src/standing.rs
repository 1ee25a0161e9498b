//! How endpoints stand in an installation, for `models` and `doctor` alike.

use scumble_api::{Answers, Endpoint, Lack, Standing};
use scumble_worker::{Models, ModelsConfig};

use crate::checks;

/// How this endpoint stands in a `serve` with these settings. Weights are looked at: a folder that cannot be used answers
/// nothing.
pub(crate) fn standing(config: &ModelsConfig, models: &Models, endpoint: &Endpoint) -> Standing {
    let own = config.models.get(endpoint.id);
    let answers = match models.answers(endpoint) {
        Answers::Here => match own.and_then(|own| checks::unusable(endpoint, own)) {
            Some(advice) => Answers::Nothing { lack: Lack::Weights, advice },
            None => Answers::Here,
        },
        other => other,
    };
    Standing::of(endpoint, Some(&answers))
}
