//! `scumble models`: what can be called, and what answers it here.

use scumble_api::{ENDPOINTS, Endpoint, Standing, faces};
use scumble_worker::{Models, ModelsConfig};
use serde_json::{Value, json};

use crate::args::{Models as Args, ModelsCommand, ModelsList, Serve};
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::settings::Settings;
use crate::standing::standing;

/// Lists the endpoints, or shows one with its fields.
pub(crate) fn models(args: &Args) -> Result<(), Failure> {
    match &args.command {
        ModelsCommand::List(ModelsList { serve, json }) => {
            let (config, models) = configured(serve)?;
            let standing = |endpoint: &Endpoint| standing(&config, &models, endpoint);
            match json {
                true => out::pretty(&ENDPOINTS.iter().map(|endpoint| entry(endpoint, &standing(endpoint))).collect()),
                false => out::result(&faces::terminal_list(&standing)),
            }
        }
        ModelsCommand::Show { id, serve } => {
            let endpoint = scumble_api::find(id).ok_or_else(|| meant::unknown_endpoint(id))?;
            let (config, models) = configured(serve)?;
            out::result(&faces::terminal_page(endpoint, &standing(&config, &models, endpoint)))
        }
    }
}

/// What a server with these flags would answer with.
fn configured(serve: &Serve) -> Result<(ModelsConfig, Models), Failure> {
    let config = Settings::read(serve)?.models;
    let models = Models::new(&config).map_err(Failure::Usage)?;
    Ok((config, models))
}

fn entry(endpoint: &Endpoint, standing: &Standing) -> Value {
    json!({
        "id": endpoint.id,
        "title": endpoint.title,
        "category": endpoint.category(),
        "status": standing.word,
        "advice": standing.text,
        "description": endpoint.description,
    })
}
