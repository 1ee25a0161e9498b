//! `scumble completions`: what a shell needs to complete commands and flags.

use clap_complete::Shell;

use crate::args;
use crate::failure::Failure;
use crate::out;

/// Prints the script for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "scumble", &mut script);
    out::bytes(&script)
}
