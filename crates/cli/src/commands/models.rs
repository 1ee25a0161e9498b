//! `scumble models`: what can be called.

use scumble_api::{Answers, ENDPOINTS, Endpoint, Family, faces};
use scumble_worker::{Models, ModelsConfig, advice};
use serde_json::{Value, json};

use crate::args::{Models as Args, ModelsCommand, ModelsList};
use crate::checks;
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::settings::Settings;

/// Lists the endpoints, or shows one with its fields.
pub(crate) fn models(args: &Args) -> Result<(), Failure> {
    match &args.command {
        ModelsCommand::List(args) => list(args),
        ModelsCommand::Show { id } => {
            let endpoint = scumble_api::find(id).ok_or_else(|| meant::unknown_endpoint(id))?;
            out::result(&faces::terminal_page(endpoint))
        }
    }
}

fn list(args: &ModelsList) -> Result<(), Failure> {
    if !args.json {
        return out::result(&faces::terminal_list());
    }
    let config = Settings::read(&args.serve)?.models;
    let models = Models::new(&config).map_err(Failure::Usage)?;
    out::pretty(&Value::from_iter(ENDPOINTS.iter().map(|endpoint| entry(endpoint, &config, &models))))
}

fn entry(endpoint: &'static Endpoint, config: &ModelsConfig, models: &Models) -> Value {
    let (status, advice) = standing(endpoint, config, models);
    json!({
        "id": endpoint.id,
        "title": endpoint.title,
        "category": endpoint.category(),
        "status": status,
        "advice": advice,
        "description": endpoint.description,
    })
}

/// What a caller of this endpoint would get here, in a word, and what to do where that is not a picture of its model.
fn standing(endpoint: &'static Endpoint, config: &ModelsConfig, models: &Models) -> (&'static str, Option<String>) {
    let weights = config.models.get(endpoint.id).and_then(|own| own.weights.as_deref());
    match models.runner(endpoint).answers(endpoint) {
        // what is configured is read only when it is needed
        Answers::Here => match weights.and_then(checks::unusable) {
            None => ("here", None),
            problem => ("needs-weights", problem),
        },
        Answers::Maker => ("maker", None),
        Answers::StandIn => ("stand-in", Some(advice(endpoint))),
        Answers::Nothing { advice } => {
            let status = match endpoint.family {
                Family::Closed(_) => "needs-key",
                Family::Starter | Family::FluxSchnell | Family::FluxDev => "needs-weights",
                _ => "not-yet",
            };
            (status, Some(advice))
        }
    }
}
