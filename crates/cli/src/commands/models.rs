//! `scumble models`: what can be called.

use scumble_api::faces;

use crate::args::{Models, ModelsCommand};
use crate::failure::Failure;

/// Lists the endpoints, or shows one with its fields.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn models(args: &Models) -> Result<(), Failure> {
    match &args.command {
        ModelsCommand::List => print!("{}", faces::terminal_list()),
        ModelsCommand::Show { id } => {
            let endpoint = scumble_api::find(id).ok_or_else(|| super::run::unknown_endpoint(id))?;
            print!("{}", faces::terminal_page(endpoint));
        }
    }
    Ok(())
}
