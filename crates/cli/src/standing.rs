//! How endpoints stand in an installation, for `models` and `doctor` alike.

use scumble_api::{Answers, Endpoint, Lack, Standing};
use scumble_worker::{ModelConfig, Models, ModelsConfig};

use crate::checks;

/// How this endpoint stands in a `serve` with these settings. Weights are looked at: what cannot be used answers
/// nothing.
pub(crate) fn standing(config: &ModelsConfig, models: &Models, endpoint: &Endpoint) -> Standing {
    let weights = config.models.get(endpoint.id).and_then(ModelConfig::source);
    let answers = match models.answers(endpoint) {
        Answers::Here => match weights.and_then(|source| checks::unusable(endpoint.id, &source)) {
            Some(advice) => Answers::Nothing { lack: Lack::Weights, advice },
            None => Answers::Here,
        },
        other => other,
    };
    Standing::of(endpoint, Some(&answers))
}
