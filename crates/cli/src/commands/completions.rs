//! `scumble completions`: what a shell needs to complete commands and flags.

use std::io::Write;

use clap_complete::Shell;

use crate::args;
use crate::failure::Failure;

/// Prints the script for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "scumble", &mut script);
    std::io::stdout().write_all(&script).map_err(|e| Failure::Failed(format!("cannot print: {e}")))
}
