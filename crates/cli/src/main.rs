//! The one binary, and the only reader of the environment.

mod args;
mod commands;
mod failure;
mod http;
mod own_server;
mod progress;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Run(run) => commands::run::run(&run),
        Command::Serve(serve) => commands::serve::serve(&serve),
        Command::Keys(keys) => commands::keys::keys(&keys),
        Command::Jobs(jobs) => commands::jobs::jobs(&jobs),
        Command::Doctor(serve) => commands::doctor::doctor(&serve),
        Command::Bench(bench) => commands::bench::bench(&bench),
        Command::Selftest(selftest) => commands::selftest::selftest(&selftest),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
