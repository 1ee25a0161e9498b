//! `scumble models`: what can be called, and what answers it here.

use scumble_api::{ENDPOINTS, Endpoint, Standing, faces};
use scumble_worker::{Models, ModelsConfig};
use serde_json::{Value, json};

use crate::args::{Models as Args, ModelsCommand, ModelsList, ModelsShow, Serve};
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
        ModelsCommand::Show(ModelsShow { id, json, serve }) => {
            let endpoint = scumble_api::find(id).ok_or_else(|| meant::unknown_endpoint(id))?;
            let (config, models) = configured(serve)?;
            let standing = standing(&config, &models, endpoint);
            match json {
                true => out::pretty(&whole(endpoint, &standing)),
                false => out::result(&faces::terminal_page(endpoint, &standing)),
            }
        }
    }
}

/// What a server with these flags would answer with.
fn configured(serve: &Serve) -> Result<(ModelsConfig, Models), Failure> {
    let config = Settings::look(serve)?.models;
    let models = Models::new(&config).map_err(Failure::Usage)?;
    Ok((config, models))
}

/// An entry of the list, with the fields.
fn whole(endpoint: &Endpoint, standing: &Standing) -> Value {
    let mut whole = entry(endpoint, standing);
    if let (Value::Object(whole), Value::Object(fields)) = (&mut whole, faces::fields_of(endpoint)) {
        whole.extend(fields);
    }
    whole
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
