//! `scumble models`: what can be called, what answers it here, and the weights that it takes, fetched, removed, or made smaller.

pub(crate) mod bar;
mod fetched;
mod pull;
mod quantize;
mod remove;
mod variants;

use scumble_api::published::{checker, published};
use scumble_api::{ENDPOINTS, Endpoint, Standing, faces};
use scumble_worker::{Models, ModelsConfig};
use serde_json::{Value, json};

use crate::args::{Models as Args, ModelsCommand, ModelsList, ModelsShow, Serve};
use crate::failure::Failure;
use crate::meant;
use crate::out;
use crate::settings::{Settings, all_fetched};
use crate::standing::standing;

/// Lists the endpoints, shows one with its fields, fetches its weights, removes them or makes them smaller.
pub(crate) fn models(args: &Args) -> Result<(), Failure> {
    match &args.command {
        ModelsCommand::List(ModelsList { serve, json }) => {
            let (config, models) = configured(serve)?;
            let standing = |endpoint: &Endpoint| standing(&config, &models, endpoint);
            match json {
                true => {
                    let entry = |endpoint: &Endpoint| entry(endpoint, &standing(endpoint), &config);
                    out::pretty(&ENDPOINTS.iter().map(entry).collect())
                }
                false => out::result(&(faces::terminal_list(&standing) + &fetched::list(&all_fetched(), &config))),
            }
        }
        ModelsCommand::Show(ModelsShow { id, json, serve }) => {
            if let Some(model) = checker(id) {
                return match json {
                    true => out::pretty(&variants::json(model)),
                    false => out::result(&variants::list(model)),
                };
            }
            let endpoint = scumble_api::find(id).ok_or_else(|| meant::unknown_endpoint(id))?;
            let (config, models) = configured(serve)?;
            let standing = standing(&config, &models, endpoint);
            match json {
                true => out::pretty(&whole(endpoint, &standing, &config)),
                false => {
                    let variants =
                        published(id).map_or_else(String::new, |model| format!("\n{}", variants::list(model)));
                    out::result(&(faces::terminal_page(endpoint, &standing) + &variants))
                }
            }
        }
        ModelsCommand::Pull(args) => pull::pull(args),
        ModelsCommand::Remove(args) => remove::remove(args),
        ModelsCommand::Quantize(args) => quantize::quantize(args),
    }
}

/// What a server with these flags would answer with.
fn configured(serve: &Serve) -> Result<(ModelsConfig, Models), Failure> {
    let config = Settings::look(serve)?.models;
    let models = Models::new(&config).map_err(Failure::Usage)?;
    Ok((config, models))
}

/// An entry of the list, with the fields.
fn whole(endpoint: &Endpoint, standing: &Standing, config: &ModelsConfig) -> Value {
    let mut whole = entry(endpoint, standing, config);
    if let (Value::Object(whole), Value::Object(fields)) = (&mut whole, faces::fields_of(endpoint)) {
        if let Some(model) = published(endpoint.id) {
            whole.insert("published".to_owned(), variants::json(model));
        }
        whole.extend(fields);
    }
    whole
}

fn entry(endpoint: &Endpoint, standing: &Standing, config: &ModelsConfig) -> Value {
    json!({
        "id": endpoint.id,
        "title": endpoint.title,
        "category": endpoint.category(),
        "status": standing.word,
        "advice": standing.text,
        "description": endpoint.description,
        "weights": fetched::json(endpoint.id, config),
    })
}
