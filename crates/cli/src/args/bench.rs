//! What can be typed after `scumble bench`.

use std::path::PathBuf;

use clap::Subcommand;
use clap::builder::TypedValueParser;

use super::{Dtype, OwnWeights, device_help, key_value, seconds};
use crate::commands::bench::{Call, Shape};

/// Measure how fast a server answers, or how fast a model draws.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Direct call, submit to result, status and submit, with several numbers of connections.
    Serve(BenchServe),
    /// Seconds of each stage of a picture, memory, and how much of what this machine can multiply the model makes use of.
    Engine(BenchEngine),
}

/// Measure a running server; without a URL, one that is started for it with stand-ins and thrown away.
///
/// A running server keeps the requests that this makes, many thousands: measure one that is not in use.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchServe {
    /// Where the server is, such as http://127.0.0.1:8787.
    pub(crate) url: Option<String>,
    /// The key to call with; better in SCUMBLE_KEY, or in a file that SCUMBLE_KEY_FILE names: other users of this machine
    /// can read what is typed here.
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// How many connections call at the same time.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,16,64", value_parser = connections)]
    pub(crate) connections: Vec<usize>,
    /// How long each measurement takes, after a fifth of it to warm up.
    #[arg(long, default_value = "3", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// The endpoint to call. On a server with --stand-in=0 it should be one without weights.
    #[arg(long, value_name = "ID", default_value = "fal-ai/flux/schnell")]
    pub(crate) endpoint: String,
    /// Measure these and nothing else.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) calls: Vec<Call>,
    /// Which URLs the server has.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) shape: Shape,
    /// Pause between two looks at the status of a request.
    #[arg(long, value_name = "MS", default_value = "1", value_parser = pause)]
    pub(crate) poll_ms: f64,
    /// Threads that make the calls.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..=64).map(usize::from))]
    pub(crate) threads: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure a model on this machine: draw the same picture several times, the model loaded anew each time.
///
/// Prompt and seed are fixed; nothing is written but what is asked for with -o.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchEngine {
    /// Such as fal-ai/flux/dev.
    #[arg(value_name = "ENDPOINT", default_value = "scumble/starter")]
    pub(crate) id: String,
    /// How many pictures are drawn, one after the other.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000).map(usize::from))]
    pub(crate) runs: usize,
    /// Width and height in pixels, such as 512x512; what the endpoint draws if left out.
    #[arg(long, value_name = "WxH", value_parser = sides)]
    pub(crate) size: Option<[u32; 2]>,
    /// Denoising steps; what the endpoint takes if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) steps: Option<u32>,
    /// Another field of the input, as for `run`: `-i num_images=4`, `-i prompt=…`.
    #[arg(short = 'i', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) fields: Vec<(String, serde_json::Value)>,
    #[command(flatten)]
    pub(crate) own: OwnWeights,
    /// Threads to compute with; as many as there are cores if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from))]
    pub(crate) threads: Option<usize>,
    /// Number type to compute with; if left out, the one that `run` computes in.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Dtype>,
    #[arg(long, default_value = "cpu", help = device_help())]
    pub(crate) device: String,
    /// Keep the last run's first picture; .png, .jpg, .jpeg or .webp decides its format.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

fn sides(text: &str) -> Result<[u32; 2], String> {
    let side = |text: &str| text.trim().parse().ok().filter(|side| *side > 0);
    let sides = text.split_once(['x', '×']).and_then(|(width, height)| Some([side(width)?, side(height)?]));
    sides.ok_or_else(|| "expected WIDTHxHEIGHT in pixels, such as 512x384".into())
}

fn connections(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| "expected 1 to 10000".into())
}

fn pause(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|ms| (0.0..=60_000.0).contains(ms)).ok_or_else(|| "expected 0 to 60000".into())
}
