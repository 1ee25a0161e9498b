//! The one binary, and the only reader of the environment.

// `println!` and `eprintln!` panic where nobody reads, and print what others wrote as it is; `out` does neither
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod checks;
mod commands;
mod failure;
mod http;
mod log;
mod meant;
mod out;
mod own_server;
mod private;
mod progress;
mod settings;
mod show;
mod signals;
mod standing;
mod text;
mod version;

use std::process::ExitCode;

use args::Command;

/// A server allocates small things on several threads all the time. glibc's allocator took a fifth of the time of a
/// status call, most of it for tidying up and for waiting between threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    log::listen_to(std::env::args_os());
    let args = args::parse();
    if let Err(failure) = settings::instruction_set() {
        return failure.report();
    }
    let done = match args.command {
        Command::Run(run) => commands::run::run(&run),
        Command::Serve(serve) => commands::serve::serve(&serve),
        Command::Models(models) => commands::models::models(&models),
        Command::Keys(keys) => commands::keys::keys(&keys),
        Command::Jobs(jobs) => commands::jobs::jobs(&jobs),
        Command::Backup(backup) => commands::backup::backup(&backup),
        Command::Restore(restore) => commands::backup::restore(&restore),
        Command::Doctor(doctor) => commands::doctor::doctor(&doctor),
        Command::Bench(bench) => commands::bench::bench(&bench),
        Command::Selftest(selftest) => commands::selftest::selftest(&selftest),
        Command::Settings => out::bytes(settings::sample().as_bytes()),
        Command::Completions { shell } => commands::completions::completions(shell),
        Command::Man { folder } => commands::man::man(folder.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
