//! The sections of scumble.toml: each setting with its type, its default and what it means, declared once.
//!
//! The tables of docs/SETTINGS.md and what `scumble settings` prints are made of these words.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use scumble_engine::DType;
use serde::Deserialize;

use super::declared::{Section, Setting, otherwise, section, value};
use super::listen::Listen;
use super::units::Quantity;
use crate::args::LogFormat;

/// All sections, in the order in which they are shown.
pub(super) const SECTIONS: [&Section; 15] = [
    &ServerSection::DECLARED,
    &StoreSection::DECLARED,
    &FilesSection::DECLARED,
    &WorkerSection::DECLARED,
    &LimitsSection::DECLARED,
    &WebhooksSection::DECLARED,
    &FetchSection::DECLARED,
    &AdaptersSection::DECLARED,
    &PromptsSection::DECLARED,
    &SafetySection::DECLARED,
    &RetentionSection::DECLARED,
    &LogSection::DECLARED,
    &MetricsSection::DECLARED,
    &ModelSection::DECLARED,
    &OpenAiSection::DECLARED,
];

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    ServerSection of "server" {
        /// address and port, or a port alone for `127.0.0.1`; port 0 lets the system choose
        listen: Option<Listen> = value(r#""127.0.0.1:8787""#),
        /// where callers reach this server: the beginning of URLs in answers to those who do not use fal's host names
        /// or those in `hosts`
        public_url: Option<String> = otherwise("what the caller’s `Host` says", r#""https://images.example.com""#),
        /// whether a proxy in front of this server sets `X-Forwarded-Proto`, `X-Forwarded-Host`, `X-Forwarded-For`
        /// and, where it takes a path away, `X-Forwarded-Prefix`. Set it only if callers cannot reach this server
        /// without the proxy: they could send these headers too. See [below](#without-keys) for what a proxy means on
        /// a server without keys
        trusted_proxy: Option<bool> = value("false"),
        /// the path below which a proxy shows this server, such as `/scumble`, where the proxy leaves it in what it
        /// passes on ([below](#behind-a-proxy))
        base_path: Option<String> = otherwise("none", r#""/scumble""#),
        /// names of your own, to be treated as fal's are: `images.example.com` is for direct calls, and `queue.`,
        /// `rest.`, `cdn.`, `ws.` and `api.` before it for the rest. With `FAL_RUN_HOST=images.example.com` the
        /// Python client finds all of them
        hosts: Vec<String> = value("[]"),
        /// pages that may use this server while it has no keys: the beginnings of their addresses as browsers send
        /// them, such as `"https://app.example.com"` or `"http://10.0.0.7:3000"`. See [below](#without-keys)
        origins: Vec<String> = value("[]"),
        /// `{ cert = "FILE", key = "FILE" }`: PEM, the certificate first and then its chain; the key unencrypted
        tls: Option<TlsSection> = otherwise("none", r#"{ cert = "cert.pem", key = "key.pem" }"#),
        /// whether `CONNECT` is answered for fal's host names; needs `tls` or `--tls-dev`
        connect: Option<bool> = value("false"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ cert = \"FILE\", key = \"FILE\" }")]
pub(super) struct TlsSection {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

section! {
    /// Its URL may hold a password, so it does not print.
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    StoreSection of "store" {
        /// `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`. Never shown in logs or messages with its user,
        /// password or parameters
        url: Option<String> = otherwise(r#"`"sqlite:DATA_DIR/scumble.db"`"#, r#""postgres://scumble@localhost/scumble""#),
        /// how much space has to be left where the database (a file) and the images (a folder) are; with less, new
        /// work gets a 503
        free_bytes: Option<Quantity> = value(r#""256 MiB""#),
    }
}

impl std::fmt::Debug for StoreSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreSection(…)")
    }
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    FilesSection of "files" {
        /// a folder, `file:///FOLDER`, `s3://BUCKET/PREFIX`, or `memory:`, which keeps nothing when the server stops
        /// (for `--role all` only)
        url: Option<String> = otherwise(r#"`"DATA_DIR/files"`"#, r#""s3://pictures/scumble""#),
    }
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    WorkerSection of "worker" {
        /// what models run on, of what the build has. Each has models of its own; a job goes to the one with the
        /// fewest jobs, of several to the one where its model already is
        devices: Option<Vec<String>> = value(r#"["cpu"]"#),
        /// what each device may use for models, such as `"20 GB"`. Weights take up to 85 % of it (of the machine's
        /// own 70 %), the rest is for what they compute. What a job's pictures take at the least is reckoned from
        /// their size and number before they are drawn: where that can never fit beside the model, the job is
        /// refused, with the figures; where other jobs have it, it waits, and idle models go
        memory: Option<Quantity> = otherwise("what the machine or its control group has", r#""20 GB""#),
        /// models that nobody has used for so long are let go; without it they stay as long as there is room
        keep_alive_s: Option<Quantity> = otherwise("none", r#""30 min""#),
        /// jobs at once on each device
        concurrency: Option<usize> = value("1"),
        /// jobs at once that wait for makers far away, beside those
        far_concurrency: Option<usize> = value("24"),
        /// pause between two signs of life; a job whose worker is silent for four of these is tried again
        heartbeat_s: Option<Quantity> = value("5"),
        /// how often a job is tried
        max_attempts: Option<i64> = value("10"),
        /// how many workers a job may take down before it is set aside
        max_crashes: Option<i64> = value("3"),
        /// how long a run may take, or by endpoint: `{ "fal-ai/flux/dev" = 600 }`. A longer one is ended with a 504
        /// that says so. Runs at makers without a word here end after three times the maker's `deadline_s`, because
        /// they may wait for others there
        run_s: Option<RunTimes> = otherwise("none", r#""10 min""#),
    }
}

/// Times: for each endpoint, or by endpoint.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a time such as 600 or \"10 min\", or times by endpoint such as { \"fal-ai/flux/dev\" = 600 }"
)]
pub(super) enum RunTimes {
    Each(Quantity),
    By(HashMap<String, Quantity>),
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    LimitsSection of "limits" {
        /// largest body of a call
        body_bytes: Option<Quantity> = value(r#""50 MiB""#),
        /// largest uploaded file
        upload_bytes: Option<Quantity> = value(r#""10 GiB""#),
        /// how many jobs of one endpoint may wait; further submits and direct calls get 429
        queue_length: Option<u64> = otherwise("none", "1000"),
        /// how many jobs of one key run at once: queued ones beyond it wait; a direct call that comes while so many
        /// run gets 429; those that wait do not count
        per_key_concurrency: Option<u32> = otherwise("none", "4"),
        /// direct calls that wait for their answer at once; further ones get 429
        direct_calls: Option<usize> = value("1000"),
        /// a realtime connection that is silent for so long is closed
        realtime_idle_s: Option<Quantity> = value("60"),
        /// what a process holds for callers at once: request bodies beyond their first 16 KiB (counted twice, as they
        /// are there as they came and as what they mean), WebSocket messages, pictures that are fetched, and pixels
        /// while they are unpacked. Where it is used up, a body waits for up to 3 s and then gets a 503 with
        /// `Retry-After`, a realtime connection is closed with code 1013, and a queued job is tried again. What alone
        /// is larger takes all of it, one at a time. Models are not counted
        memory_bytes: Option<Quantity> = value(r#""256 MiB""#),
        /// connections at once. On further ones a few `/health` and `/ready` are answered and everything else gets
        /// 503 with `Retry-After`; what does not fit there is closed. Each needs a file descriptor: the process
        /// raises its own limit as far as the system lets it, and says so where that is not enough
        connections: Option<usize> = value("4096"),
        /// the same for one IPv4 address, or one network of IPv6 (/64); what is too much gets 429. Behind a proxy, or
        /// with one program that opens very many, set it as high as `connections`
        connections_per_address: Option<usize> = otherwise("half of `connections`", "2048"),
        /// US dollars a day (UTC) for each maker, or `{ bfl = 20.0, … }`
        spend_per_day: Option<SpendPerDay> = otherwise("none", "20.0"),
    }
}

/// US dollars: for each maker, or by maker.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected US dollars such as 20.0, or by maker such as { bfl = 20.0 }")]
pub(super) enum SpendPerDay {
    Each(f64),
    By(HashMap<String, f64>),
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    WebhooksSection of "webhooks" {
        /// whether webhooks may go to addresses that are not on the public internet
        allow_private: Option<bool> = value("false"),
        /// how long a receiver may take
        timeout_s: Option<Quantity> = value("15"),
    }
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    FetchSection of "fetch" {
        /// the same for pictures that callers name by URL
        allow_private: Option<bool> = value("false"),
        /// largest download
        max_bytes: Option<Quantity> = value(r#""50 MiB""#),
        /// largest picture, decoded
        max_pixels: Option<u64> = value("67108864"),
        /// how long all pictures of one request may take together
        timeout_s: Option<Quantity> = value("60"),
    }
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    AdaptersSection of "adapters" {
        /// folders whose files callers may name by path, without `..`. Links count as where they lead: what is
        /// outside is refused, in words that do not say whether it is there
        folders: Vec<PathBuf> = value("[]"),
        /// largest adapter; `max_bytes` of `[fetch]` is for pictures only
        max_bytes: Option<Quantity> = value(r#""16 GiB""#),
        /// how much `DATA_DIR/adapters` takes, in whole blocks of 4 KiB: what was downloaded and what is on its way.
        /// What was not used for longest goes first, and what a run is using stays; a download for which there is no
        /// room then is a 422. No more than 4096 files are kept
        cache_bytes: Option<Quantity> = value(r#""64 GiB""#),
        /// how long all adapters of one request may take together. A host that is silent for a minute, or sends less
        /// than 256 KiB in one, is given up before that
        timeout_s: Option<Quantity> = value(r#""2 h""#),
        /// how long a download is taken as it is; later its host is asked whether it has changed. A host that cannot
        /// be reached then does no harm: what is there is used, with a line in the job's log
        fresh_s: Option<Quantity> = value(r#""10 min""#),
        /// where repositories are; a mirror that speaks the same API will do. One in a private network needs
        /// `allow_private` in `[fetch]`
        hub: Option<String> = value(r#""https://huggingface.co""#),
        /// the token for private and gated repositories; `HF_TOKEN`, or `HF_TOKEN_FILE`, goes before it. It is sent
        /// to the hub alone, with files and lists of repositories of models and nothing else, and not to where the
        /// hub redirects. Whatever models it can read, callers can name
        hub_token: Option<Token> = otherwise("none", r#""hf_…""#),
    }
}

/// A secret, which does not print.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Token(pub(super) String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

section! {
    /// The language model that makes prompts longer.
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    PromptsSection of "prompts" {
        /// where its API is, such as `http://127.0.0.1:11434/v1`
        url: String = otherwise("to be named", r#""http://127.0.0.1:11434/v1""#),
        /// the model's name there
        model: String = otherwise("to be named", r#""qwen3""#),
        /// the key for it; better in `SCUMBLE_PROMPTS_API_KEY`
        api_key: Option<Token> = otherwise("none", r#""…""#),
        /// how long one prompt may take, waiting included; eight are asked at once
        deadline_s: Option<Quantity> = otherwise("`30`", "30"),
        /// the longest answer, in the model's tokens
        max_tokens: Option<u32> = otherwise("`1024`", "1024"),
        /// what the model is told to do with the prompt
        instruction: Option<String> = otherwise("a description of at most 120 words, in English", r#""Describe the picture in more detail.""#),
    }
}

section! {
    /// What looks at finished pictures.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    SafetySection of "safety" {
        /// `"compvis"` or `"falconsai"`; `scumble models pull NAME` fetches it
        checker: Option<CheckerName> = otherwise("none", r#""compvis""#),
        /// the folder that holds it: `config.json`, `model.safetensors` or `pytorch_model.bin`,
        /// `preprocessor_config.json`
        weights: Option<PathBuf> = otherwise("what was fetched", r#""/models/checker""#),
        /// what becomes of a flagged picture: `"flag"` gives it out with its flag, `"black"` gives out a black one
        /// with its flag, `"refuse"` ends the request with 422 `content_policy_violation` and gives out none of its
        /// pictures
        flagged: Option<FlaggedName> = otherwise(r#"`"flag"`"#, r#""black""#),
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckerName {
    Compvis,
    Falconsai,
}

/// What becomes of a flagged picture.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FlaggedName {
    Flag,
    Black,
    Refuse,
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    RetentionSection of "retention" {
        /// how long ended jobs are kept, with their input and their pictures. Without this setting jobs that were
        /// accepted before it had a default stay; with it they go too. A picture whose caller gave it a lifetime of
        /// its own keeps that
        results_s: Option<Quantity> = otherwise("30 days", r#""90 d""#),
        /// the same for callers who do not want theirs kept (`X-Fal-Store-IO: 0`); the URLs of their pictures work
        /// for `results_s` from then on
        unkept_s: Option<Quantity> = value("3600"),
    }
}

section! {
    /// How the log is written. It begins before the file is read as a whole: [`super::file::log_format`] looks for this alone.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    LogSection of "log" {
        /// `"json"` makes every line that `serve` writes on stderr an object ([MONITORING](MONITORING.md#logs))
        format: Option<LogFormat> = value(r#""text""#),
    }
}

section! {
    /// Who reads the metrics, and where.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    MetricsSection of "metrics" {
        /// an address of its own for `/metrics`, where nobody is asked who they are, as `listen` in `[server]` is
        /// written
        listen: Option<Listen> = otherwise("none", r#""127.0.0.1:9090""#),
        /// the ids of the keys that may read `/metrics` on the server's own port
        keys: Vec<String> = otherwise("all", r#"["monitoring"]"#),
    }
}

section! {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    ModelSection of r#"models."ENDPOINT""# {
        /// a diffusers folder, a file that holds a transformer and maybe more, or a repository in the cache of
        /// Hugging Face's tools: `owner/name`, `owner/name@revision` ([MODELS](MODELS.md#files))
        weights: Option<PathBuf> = otherwise("what `models pull` has fetched", r#""/models/FLUX.1-schnell""#),
        /// a diffusers folder for what `weights` lacks
        weights_base: Option<PathBuf> = otherwise("none", r#""/models/FLUX.1-schnell""#),
        /// files or folders of single components: `{ vae = "ae.safetensors" }`; of `transformer`, `vae`,
        /// `text_encoder` to `text_encoder_4`
        components: BTreeMap<String, PathBuf> = otherwise("none", r#"{ vae = "ae.safetensors" }"#),
        /// `float32`, `bfloat16` or `float16`; on a CPU computation is in float32, a smaller type halves the matrices
        /// of float32 files in memory, and `float32` makes products with GGUF's blocks exact, and slower
        dtype: Option<DtypeName> = otherwise("the file's, but elsewhere than on a CPU never float16: that becomes bfloat16", r#""float32""#),
        /// `"local"`, `"bfl"`, `"ideogram"`, `"google"`, `"recraft"`, `"fal"`, `"stand-in"`, or several in order
        provider: Option<OneOrMore> = otherwise("weights, else the model's maker", r#""local""#),
    }
}

section! {
    /// Names of models for programs that speak OpenAI's API.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    OpenAiSection of "openai" {
        /// names of models for [programs that speak OpenAI's API](CLIENTS.md#openais-clients): `{ "house-model" =
        /// "scumble/starter", "gpt-image-1" = "fal-ai/flux/schnell" }`. An endpoint that does not exist is an error
        /// at the start. Without a line of its own, `gpt-image-…` or `dall-e-…` is what runs here; so it is for edits
        /// where the endpoint that it names takes no picture
        aliases: BTreeMap<String, String> = value("{}"),
    }
}

/// `"bfl"` or `["local", "bfl"]`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a name such as \"bfl\", or several such as [\"local\", \"bfl\"]")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn into_list(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::More(names) => names,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DtypeName {
    Float32,
    Bfloat16,
    Float16,
}

impl From<DtypeName> for DType {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::Float32 => Self::F32,
            DtypeName::Bfloat16 => Self::BF16,
            DtypeName::Float16 => Self::F16,
        }
    }
}
