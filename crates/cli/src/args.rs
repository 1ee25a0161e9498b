//! What can be typed. Nothing is opened or probed here.

mod bench;
mod data;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use scumble_api::faces;
use scumble_engine::{DType, devices};
use scumble_hub::RepoId;
use scumble_store::{JobId, State};
use scumble_worker::Faults;
use serde::Deserialize;

use crate::log;
use crate::meant;
use crate::out;
use crate::settings::Listen;
use crate::text;
use crate::version;

pub(crate) use bench::{Bench, BenchCommand, BenchEngine, BenchServe};
pub(crate) use data::{Backup, Doctor, Restore};

const EXIT_CODES: &str = "Exit codes: 0 success, 1 the model or server failed, 2 wrong command or input, \
                          3 weights missing or unusable, 4 file, folder, database, address or certificate unusable, 130 interrupted.";

/// Images from open-weight models, on your own machine, through fal's API.
#[derive(Debug, Parser)]
#[command(name = "scumble", version, long_version = version::long(), after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an image here and now.
    Run(Run),
    /// Answer fal's API over HTTP.
    Serve(Serve),
    /// List what can be called, show what it takes, fetch, quantize and remove its weights.
    Models(Models),
    /// Make, list and revoke the keys that callers need.
    Keys(Keys),
    /// Look at jobs and act on them.
    Jobs(Jobs),
    /// Write everything that an installation holds into one file, with the server up or down.
    Backup(Backup),
    /// Bring back what `scumble backup` has written, into a data dir that is empty or not there.
    Restore(Restore),
    /// Check what `serve` with the same flags needs: one line each, with what to do.
    Doctor(Doctor),
    /// Measure how fast a server answers, or how fast a model draws.
    Bench(Bench),
    /// Check on this machine that no accepted request gets lost.
    Selftest(Selftest),
    /// Print a scumble.toml that says every setting and its default, each switched off.
    Settings,
    /// Print a script that completes commands in your shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands into a folder.
    Man {
        /// Where the pages go; made if it is not there.
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

/// What can be called, and what it takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Models {
    #[command(subcommand)]
    pub(crate) command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Every endpoint, a line each, with what answers it in a `serve` with the same flags.
    List(ModelsList),
    /// One endpoint: what answers it, the fields of its input, and the forms in which its weights are published.
    Show(ModelsShow),
    /// Fetch the weights that an endpoint needs, into the cache that Hugging Face's tools share.
    ///
    /// HF_TOKEN opens gated repositories, HF_HOME says where the cache is, HF_ENDPOINT names another hub; with
    /// HF_HUB_OFFLINE=1 nothing is fetched, and what is in the cache is used. A fetch that ends early goes on with the same command.
    Pull(ModelsPull),
    /// Remove the weights that were fetched for an endpoint.
    Remove(ModelsRemove),
    /// Write the transformer of an endpoint's weights into a GGUF file, its matrices in blocks of a few bits.
    ///
    /// The names are its publisher's, so that other programs read the file too. `--weights FILE --weights-base DIR` draws with
    /// it, or `--weights DIR --component transformer=FILE`.
    Quantize(ModelsQuantize),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelsQuantize {
    /// Such as fal-ai/flux/dev.
    #[arg(value_name = "ENDPOINT")]
    pub(crate) id: String,
    /// What matrices become: q8_0 takes half of what bfloat16 takes, q4_k three tenths, and is further from it.
    #[arg(long, value_enum, value_name = "TYPE")]
    pub(crate) to: Blocks,
    #[command(flatten)]
    pub(crate) own: OwnWeights,
    /// The file that is written. One that is there already is not replaced.
    #[arg(short, long, value_name = "FILE.gguf")]
    pub(crate) output: PathBuf,
}

/// Kinds of blocks that are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Blocks {
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_k")]
    Q4K,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelsPull {
    /// Such as fal-ai/flux/schnell; or a safety checker, compvis or falconsai.
    #[arg(value_name = "ENDPOINT")]
    pub(crate) id: String,
    /// Another repository of the same model, in diffusers' layout, and its branch, tag or commit.
    #[arg(long, value_name = "REPO[@REV]", value_parser = from)]
    pub(crate) from: Option<From>,
    /// The form of the weights: `scumble models show ENDPOINT` names them.
    #[arg(long, value_name = "VARIANT")]
    pub(crate) variant: Option<String>,
    /// The tokenizers and configurations alone: some megabytes.
    #[arg(long, conflicts_with = "variant")]
    pub(crate) tokenizers: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelsRemove {
    /// Such as fal-ai/flux/schnell; or a safety checker, compvis or falconsai.
    #[arg(value_name = "ENDPOINT")]
    pub(crate) id: String,
}

/// A repository, and which of its revisions.
#[derive(Clone, Debug)]
pub(crate) struct From {
    pub(crate) repository: RepoId,
    pub(crate) revision: Option<String>,
}

fn from(text: &str) -> Result<From, String> {
    let (repository, revision) = text.split_once('@').map_or((text, None), |(id, revision)| (id, Some(revision)));
    let repository = RepoId::parse(repository).ok_or("expected OWNER/NAME, or OWNER/NAME@REVISION")?;
    if revision.is_some_and(|revision| !scumble_hub::is_inside(revision)) {
        return Err("behind the @ a branch, a tag or a full commit is expected".to_owned());
    }
    Ok(From { repository, revision: revision.map(str::to_owned) })
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelsList {
    /// A JSON array with the id of each endpoint, its status here and what to do about it.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelsShow {
    /// Such as fal-ai/flux/schnell; or a safety checker, compvis or falconsai.
    #[arg(value_name = "ENDPOINT")]
    pub(crate) id: String,
    /// A JSON object with the same, and each field as an object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What was typed. `run ENDPOINT --help` shows that endpoint's fields too.
pub(crate) fn parse() -> Args {
    let typed: Vec<_> = std::env::args_os().collect();
    let mut words = typed.iter().skip(1).filter_map(|word| word.to_str());
    let is_run = words.next() == Some("run");
    let endpoint = words.find_map(scumble_api::find).filter(|_| is_run);
    let command = match endpoint {
        Some(endpoint) => command().mut_subcommand("run", |run| run.after_help(faces::terminal_fields(endpoint))),
        None => command(),
    };
    let matches = without_empty(command).try_get_matches_from(&typed).unwrap_or_else(|error| refuse(error, &typed));
    Args::from_arg_matches(&matches).unwrap_or_else(|error| refuse(error, &typed))
}

/// The command without the variables that are set to nothing: an empty one is as good as none, as in shells and in what
/// tools for containers make of a variable that is not there.
fn without_empty(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.to_string_lossy().trim().is_empty());
    let filled = |arg: Arg| if arg.get_env().is_some_and(is_empty) { arg.env(None::<&'static str>) } else { arg };
    command.mut_args(filled).mut_subcommands(without_empty)
}

/// The variable that the value of this argument (`--listen <ADDR>`) has come from, if it was not typed.
fn variable_of(argument: &str, typed: &[OsString]) -> Option<String> {
    let flag = argument.split([' ', '=', '[']).next()?;
    let was_typed = |word: &OsString| {
        let word = word.to_string_lossy();
        word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    if typed.iter().any(was_typed) {
        return None;
    }
    named(&command(), flag.strip_prefix("--")?)
}

/// The variable of a flag in a command or one below it.
fn named(command: &clap::Command, flag: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).and_then(Arg::get_env);
    let own = own.map(|name| name.to_string_lossy().into_owned());
    own.or_else(|| command.get_subcommands().find_map(|command| named(command, flag)))
}

/// Prints help, or what is wrong with the words, and ends the process. clap prints in colours; what was typed may have
/// come from elsewhere and hold more than colours.
fn refuse(mut error: clap::Error, typed: &[OsString]) -> ! {
    if let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation)
        && let Some(variable) = variable_of(argument, typed)
    {
        error.insert(ContextKind::InvalidArg, ContextValue::String(variable));
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand)
        && typed.contains(char::is_whitespace)
    {
        let tip = format!("to draw this, write: scumble run {typed:?}");
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    let plain = error.render().to_string();
    if log::is_json() && error.use_stderr() {
        let said = plain.trim();
        out::error(said.strip_prefix("error: ").unwrap_or(said));
        std::process::exit(error.exit_code());
    }
    if matches!(text::lines(&plain), Cow::Borrowed(_)) {
        error.exit();
    }
    out::say(plain.trim_end());
    std::process::exit(error.exit_code())
}

/// All that can be typed.
pub(crate) fn command() -> clap::Command {
    Args::command()
}

/// Make an image here and now.
///
/// Progress goes to stderr, the paths of the images to stdout.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The endpoint (an id with a slash; scumble/starter if left out) and the prompt; - reads the prompt from stdin.
    #[arg(value_name = "[ENDPOINT] PROMPT", num_args = 0..=2)]
    pub(crate) words: Vec<String>,
    /// A field of the input; the value is JSON where it parses as JSON, else text.
    #[arg(short = 'i', value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) fields: Vec<(String, serde_json::Value)>,
    /// A JSON file with fields of the input; - reads it from stdin.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) input: Option<PathBuf>,
    /// Where the image goes; .png, .jpg, .jpeg or .webp decides its format; - writes it to stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A whole number: the same seed draws the same image. Left out, or -1: another image each time.
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: Option<Seed>,
    /// Print the endpoint's output object instead of paths.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the image in the terminal too; HOW is needed only where the terminal does not tell.
    #[arg(long, value_name = "HOW", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    pub(crate) show: Option<Show>,
    #[command(flatten)]
    pub(crate) own: OwnWeights,
    /// Number type to compute with; that of the weights if left out.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Dtype>,
    #[arg(long, default_value = "cpu", help = device_help())]
    pub(crate) device: String,
    /// Write intermediate results of the pipeline to a file.
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) trace: Option<PathBuf>,
    /// Where downloaded adapters are kept [default: $XDG_DATA_HOME/scumble].
    #[arg(long, env = "SCUMBLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The path of a scumble.toml, whose `[fetch]`, `[adapters]` and `[prompts]` count here.
    #[arg(long, env = "SCUMBLE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Weights that are named where one model is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct OwnWeights {
    /// The weights: a diffusers folder, a file that holds a transformer and maybe more, or a repository `OWNER/NAME[@REV]` in
    /// the cache of Hugging Face's tools.
    #[arg(long, value_name = "PATH")]
    pub(crate) weights: Option<PathBuf>,
    /// A diffusers folder for what the weights lack: encoders, autoencoder, schedule, tokenizers.
    #[arg(long, value_name = "DIR", requires = "weights")]
    pub(crate) weights_base: Option<PathBuf>,
    /// A file or folder for one component: transformer, vae, text_encoder to text_encoder_4. May be given several times.
    #[arg(long = "component", value_name = "NAME=PATH", value_parser = component, requires = "weights")]
    pub(crate) components: Vec<(String, PathBuf)>,
}

/// Only what this build can do is on offer.
fn device_help() -> String {
    format!("What to compute on. This build has: {}", devices().join(", "))
}

/// Which noise a picture begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Another each time.
    Any,
    /// This one.
    Number(u64),
}

/// How a terminal is told to show a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// As the environment says which terminal this is.
    Auto,
    /// kitty's protocol: kitty, Ghostty, Konsole.
    Kitty,
    /// iTerm2's protocol: iTerm2, WezTerm, mintty.
    Iterm,
    /// Sixels: foot, mlterm, contour, Windows Terminal, xterm -ti vt340.
    Sixel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Dtype {
    Float32,
    Bfloat16,
    Float16,
}

impl Dtype {
    /// As the engine knows it.
    pub(crate) fn meant(self) -> DType {
        match self {
            Self::Float32 => DType::F32,
            Self::Bfloat16 => DType::BF16,
            Self::Float16 => DType::F16,
        }
    }
}

/// Answer fal's API over HTTP.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The port or address and port to listen on [default: 127.0.0.1:8787; a worker listens only where told to].
    #[arg(long, env = "SCUMBLE_LISTEN", value_name = "ADDR", value_parser = Listen::parse)]
    pub(crate) listen: Option<Listen>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Where images are kept: a folder, file:///…, s3://bucket/prefix or memory: [default: files in the data dir].
    #[arg(long, env = "SCUMBLE_FILES", value_name = "URL")]
    pub(crate) files: Option<String>,
    /// Which part of the server this process runs.
    #[arg(long, env = "SCUMBLE_ROLE", value_enum, default_value_t)]
    pub(crate) role: Role,
    /// The URL at which callers reach this server, if their Host header does not say it.
    #[arg(long, env = "SCUMBLE_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Serve https too, on the same port, with certificates from an authority made for this machine.
    #[arg(long, env = "SCUMBLE_TLS_DEV", value_parser = BoolishValueParser::new())]
    pub(crate) tls_dev: bool,
    /// Answer CONNECT for fal's service names, for programs that are given this server as HTTPS_PROXY.
    #[arg(long, env = "SCUMBLE_CONNECT", value_parser = BoolishValueParser::new())]
    pub(crate) connect: bool,
    /// Weights for an endpoint: a diffusers folder, a file, or a repository `OWNER/NAME[@REV]` in the cache of Hugging Face's
    /// tools. May be given several times.
    #[arg(long, value_name = "ENDPOINT=PATH", value_parser = endpoint_path)]
    pub(crate) weights: Vec<(String, PathBuf)>,
    /// Load the model of this endpoint at the start, in the background. May be given several times.
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) preload: Vec<String>,
    /// Answer endpoints that have no weights with drawn cards, after MS milliseconds.
    #[arg(long, env = "SCUMBLE_STAND_IN", value_name = "MS", num_args = 0..=1, default_missing_value = "0",
          require_equals = true, value_parser = milliseconds)]
    pub(crate) stand_in: Option<Duration>,
    /// Keep every exchange with makers in this folder, without keys.
    #[arg(long, env = "SCUMBLE_RECORD", value_name = "DIR", conflicts_with = "replay")]
    pub(crate) record: Option<PathBuf>,
    /// Answer for makers from what --record kept in this folder. Nothing is sent, and no key is needed.
    #[arg(long, env = "SCUMBLE_REPLAY", value_name = "DIR")]
    pub(crate) replay: Option<PathBuf>,
    /// What the log on stderr is: lines for people, or a JSON object a line.
    #[arg(long, env = log::VARIABLE, value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// An address of its own for the metrics, where nobody is asked who they are: a port, or an address and a port.
    #[arg(long, env = "SCUMBLE_METRICS_LISTEN", value_name = "ADDR", value_parser = Listen::parse)]
    pub(crate) metrics_listen: Option<Listen>,
    /// Where a self-test wants this process to end: POINT or POINT:PASS.
    #[arg(long, env = "SCUMBLE_FAULT", value_name = "POINT", hide = true)]
    pub(crate) fault: Option<Faults>,
    /// Listen on an address that others can reach although no keys were made.
    #[arg(long, env = "SCUMBLE_OPEN", value_parser = BoolishValueParser::new())]
    pub(crate) open: bool,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line, for programs.
    Json,
}

/// Which half of the server a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The whole server: answers callers and runs their jobs.
    #[default]
    All,
    /// Answers callers; workers elsewhere run the jobs.
    Gateway,
    /// Runs jobs; listens only where told to, and then for /health, /ready and /metrics.
    Worker,
}

impl Role {
    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        }
    }
}

/// Where jobs and keys are.
#[derive(clap::Args)]
pub(crate) struct PlaceArgs {
    /// Where data is kept [default: $XDG_DATA_HOME/scumble].
    #[arg(long, env = "SCUMBLE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// sqlite:PATH or postgres://USER@HOST/NAME [env: DATABASE_URL] [default: scumble.db in the data dir]. A password in
    /// it can be read by other users of this machine: use --database-file or the variable then.
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// A file that holds the database's URL and nothing else [env: DATABASE_URL_FILE].
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    pub(crate) database_file: Option<PathBuf>,
    /// The path of a scumble.toml, a file with settings.
    #[arg(long, env = "SCUMBLE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Without the database's URL: it may hold a password.
impl std::fmt::Debug for PlaceArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { data_dir, database: _, database_file, config } = self;
        write!(f, "PlaceArgs {{ data_dir: {data_dir:?}, database_file: {database_file:?}, config: {config:?} }}")
    }
}

/// Make, list and revoke the keys that callers need.
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and print it, this once. From the first key on, callers need one.
    Create {
        /// A name by which to recognise the key.
        #[arg(long, default_value = "")]
        label: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List keys by id, with when each was made and last used.
    List {
        /// A JSON array instead of lines.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Revoke a key by its id.
    Revoke {
        /// The part of the key before the colon.
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Replace the key that webhooks are signed with. The new one is published at once and signs a day later; the very
    /// first one signs at once.
    RotateWebhooks {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Look at jobs and act on them; with the server up or down.
#[derive(Debug, clap::Args)]
pub(crate) struct Jobs {
    #[command(subcommand)]
    pub(crate) command: JobsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, newest first.
    List(JobsList),
    /// Show everything about a job: input, outcome, events, attempts, webhook deliveries.
    Show(OneJob),
    /// Cancel a job that has not ended.
    Cancel(OneJob),
    /// Submit a copy of a job as a new job and print its id.
    Retry(OneJob),
    /// Deliver the webhook of an ended job once more.
    Redeliver(OneJob),
}

#[derive(Debug, clap::Args)]
pub(crate) struct JobsList {
    /// Only jobs of this endpoint.
    #[arg(long, value_name = "ID")]
    pub(crate) endpoint: Option<String>,
    /// Only jobs in this state.
    #[arg(long, value_parser = state)]
    pub(crate) state: Option<State>,
    /// Only jobs of the key with this id.
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    /// Only jobs before the one with this number (the `seq` of --json).
    #[arg(long, value_name = "SEQ")]
    pub(crate) before: Option<i64>,
    /// Show at most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// A JSON array instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneJob {
    /// The job's id, fal's request_id.
    pub(crate) id: JobId,
    /// JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

fn state(text: &str) -> Result<State, String> {
    let names = State::ALL.map(State::as_str).join(", ");
    State::from_name(text).ok_or_else(|| format!("expected one of {names}"))
}

/// Check on this machine that a server works and that no accepted request gets lost.
///
/// It starts servers of its own on a folder that is removed afterwards, and touches nothing else.
#[derive(Debug, clap::Args)]
pub(crate) struct Selftest {
    /// Kill the server again and again while it works, and count what survives.
    #[arg(long)]
    pub(crate) torture: bool,
    /// How long to torture it.
    #[arg(long, default_value = "20", value_parser = seconds)]
    pub(crate) seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.1..=86_400.0).contains(s)).ok_or_else(|| "expected 0.1 to 86400".into())
}

fn key_value(text: &str) -> Result<(String, serde_json::Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key before = is empty".into());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value));
    Ok((key.to_owned(), value))
}

/// What `--component` names.
const COMPONENTS: [&str; 6] =
    ["transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4"];

fn component(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
    if !COMPONENTS.contains(&name) {
        return Err(format!("there is no component {name}; there are {}", COMPONENTS.join(", ")));
    }
    if path.is_empty() {
        return Err(format!("the file or folder after {name}= is missing"));
    }
    Ok((name.to_owned(), path.into()))
}

fn endpoint_path(text: &str) -> Result<(String, PathBuf), String> {
    let (endpoint, dir) = text.split_once('=').ok_or("expected ENDPOINT=PATH")?;
    if scumble_api::find(endpoint).is_none() {
        return Err(meant::no_endpoint(endpoint));
    }
    if dir.is_empty() {
        return Err(format!("the file or folder after {endpoint}= is missing"));
    }
    Ok((endpoint.to_owned(), dir.into()))
}

fn seed(text: &str) -> Result<Seed, String> {
    match text.trim().parse() {
        Ok(-1_i128) => Ok(Seed::Any),
        Ok(number) if u64::try_from(number).is_ok() => Ok(Seed::Number(number as u64)),
        _ => Err(format!(
            "a seed is a whole number from 0 to {}: the same seed, prompt and model draw the same image. Leave it out, or \
             give -1, for another image each time",
            u64::MAX
        )),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| "expected milliseconds".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn values_are_json_where_they_parse_as_json() {
        let value = |text: &str| key_value(text).map(|(_, v)| v).expect("key and value");
        assert_eq!(value("a=1"), serde_json::json!(1));
        assert_eq!(value("a="), serde_json::json!(""));
        assert_eq!(value("a=square"), serde_json::json!("square"));
        assert_eq!(value(r#"a={"width":64}"#), serde_json::json!({ "width": 64 }));
        assert!(key_value("a").is_err() && key_value("=1").is_err());
    }

    /// What a command and those below it say of themselves.
    fn helps(mut command: clap::Command) -> Vec<String> {
        let mut all = vec![command.render_long_help().to_string()];
        all.extend(command.get_subcommands().cloned().flat_map(helps));
        all
    }

    /// "is no checkpoint" is what another language says; in English that is "is not a checkpoint".
    #[test]
    fn help_says_it_in_english() {
        let pages = scumble_api::ENDPOINTS.iter().map(|e| faces::terminal_page(e, &scumble_api::Standing::of(e, None)));
        let texts: Vec<String> = helps(command()).into_iter().chain(pages).collect();
        assert!(texts.len() > 40, "all commands and endpoints");
        for text in texts {
            for (at, words) in text.match_indices(" is no ").chain(text.match_indices(" are no ")) {
                let before = text[..at].to_lowercase();
                assert!(before.ends_with("there"), "{words:?} in: {text}");
            }
        }
    }

    #[test]
    fn seeds_are_whole_numbers() {
        assert_eq!(seed("0"), Ok(Seed::Number(0)));
        assert_eq!(seed("18446744073709551615"), Ok(Seed::Number(u64::MAX)));
        assert_eq!(seed("-1"), Ok(Seed::Any));
        for bad in ["abc", "", "1.5", "-2", "18446744073709551616", "0x7"] {
            assert!(seed(bad).is_err_and(|said| said.contains("whole number from 0 to 18446744073709551615")), "{bad}");
        }
    }
}
