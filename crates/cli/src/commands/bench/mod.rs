//! `scumble bench`: how fast a server answers, how fast a model draws.

mod engine;
mod serve;

use crate::args::{Bench, BenchCommand};
use crate::failure::Failure;

pub(crate) use serve::{Call, Shape};

/// Measures.
pub(crate) fn bench(args: &Bench) -> Result<(), Failure> {
    match &args.command {
        BenchCommand::Serve(args) => serve::serve(args),
        BenchCommand::Engine(args) => engine::engine(args),
    }
}
