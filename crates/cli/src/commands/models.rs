//! `scumble models`: what can be called, and what answers it here.

use scumble_api::{Endpoint, Standing, faces};
use scumble_worker::Models;

use crate::args::{ModelsCommand, Serve};
use crate::failure::Failure;
use crate::settings::Settings;

/// Lists the endpoints, or shows one with its fields.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn models(args: &crate::args::Models) -> Result<(), Failure> {
    match &args.command {
        ModelsCommand::List(serve) => {
            let models = configured(serve)?;
            print!("{}", faces::terminal_list(&|endpoint| standing(&models, endpoint)));
        }
        ModelsCommand::Show { id, serve } => {
            let endpoint = scumble_api::find(id).ok_or_else(|| super::run::unknown_endpoint(id))?;
            print!("{}", faces::terminal_page(endpoint, &standing(&configured(serve)?, endpoint)));
        }
    }
    Ok(())
}

/// What a server with these flags would answer with.
fn configured(serve: &Serve) -> Result<Models, Failure> {
    Models::new(&Settings::read(serve)?.models).map_err(Failure::Usage)
}

/// How an endpoint stands there.
pub(super) fn standing(models: &Models, endpoint: &Endpoint) -> Standing {
    Standing::of(endpoint, Some(&models.answers(endpoint)))
}
