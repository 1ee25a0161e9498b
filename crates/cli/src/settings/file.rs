//! scumble.toml. A word that means nothing is an error: a setting that is silently ignored is worse.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use scumble_engine::DType;
use serde::Deserialize;

use super::listen::Listen;
use super::plain;
use super::units::Quantity;
use crate::args::LogFormat;
use crate::failure::Failure;

/// The whole file. Every section and every word may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) server: ServerSection,
    pub(super) store: StoreSection,
    pub(super) files: FilesSection,
    pub(super) worker: WorkerSection,
    pub(super) limits: LimitsSection,
    pub(super) webhooks: WebhooksSection,
    pub(super) fetch: FetchSection,
    pub(super) adapters: AdaptersSection,
    pub(super) retention: RetentionSection,
    pub(super) metrics: MetricsSection,
    #[allow(dead_code, reason = "read before the rest of the file, and here for its mistakes")]
    pub(super) log: LogSection,
    pub(super) prompts: Option<PromptsSection>,
    pub(super) safety: SafetySection,
    pub(super) models: HashMap<String, ModelSection>,
    pub(super) openai: OpenAiSection,
    pub(super) providers: scumble_worker::makers::Settings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServerSection {
    pub(super) listen: Option<Listen>,
    pub(super) public_url: Option<String>,
    pub(super) trusted_proxy: Option<bool>,
    pub(super) base_path: Option<String>,
    pub(super) hosts: Vec<String>,
    pub(super) origins: Vec<String>,
    pub(super) tls: Option<TlsSection>,
    pub(super) connect: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ cert = \"FILE\", key = \"FILE\" }")]
pub(super) struct TlsSection {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// Its URL may hold a password, so it does not print.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StoreSection {
    pub(super) free_bytes: Option<Quantity>,
    pub(super) url: Option<String>,
}

impl std::fmt::Debug for StoreSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreSection(…)")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FilesSection {
    pub(super) url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WorkerSection {
    pub(super) devices: Option<Vec<String>>,
    pub(super) memory: Option<Quantity>,
    pub(super) keep_alive_s: Option<Quantity>,
    pub(super) concurrency: Option<usize>,
    pub(super) far_concurrency: Option<usize>,
    pub(super) heartbeat_s: Option<Quantity>,
    pub(super) max_attempts: Option<i64>,
    pub(super) max_crashes: Option<i64>,
    pub(super) run_s: Option<RunTimes>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsSection {
    pub(super) body_bytes: Option<Quantity>,
    pub(super) upload_bytes: Option<Quantity>,
    pub(super) queue_length: Option<u64>,
    pub(super) per_key_concurrency: Option<u32>,
    pub(super) direct_calls: Option<usize>,
    pub(super) realtime_idle_s: Option<Quantity>,
    pub(super) connections: Option<usize>,
    pub(super) connections_per_address: Option<usize>,
    pub(super) memory_bytes: Option<Quantity>,
    pub(super) spend_per_day: Option<SpendPerDay>,
}

/// US dollars: for each maker, or by maker.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected US dollars such as 20.0, or by maker such as { bfl = 20.0 }")]
pub(super) enum SpendPerDay {
    Each(f64),
    By(HashMap<String, f64>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WebhooksSection {
    pub(super) allow_private: Option<bool>,
    pub(super) timeout_s: Option<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FetchSection {
    pub(super) allow_private: Option<bool>,
    pub(super) max_bytes: Option<Quantity>,
    pub(super) max_pixels: Option<u64>,
    pub(super) timeout_s: Option<Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AdaptersSection {
    pub(super) folders: Vec<PathBuf>,
    pub(super) max_bytes: Option<Quantity>,
    pub(super) cache_bytes: Option<Quantity>,
    pub(super) timeout_s: Option<Quantity>,
    pub(super) fresh_s: Option<Quantity>,
    pub(super) hub: Option<String>,
    pub(super) hub_token: Option<Token>,
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

/// The language model that makes prompts longer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromptsSection {
    pub(super) url: String,
    pub(super) model: String,
    pub(super) api_key: Option<Token>,
    pub(super) deadline_s: Option<Quantity>,
    pub(super) max_tokens: Option<u32>,
    pub(super) instruction: Option<String>,
}

/// What looks at finished pictures.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SafetySection {
    pub(super) checker: Option<CheckerName>,
    pub(super) weights: Option<PathBuf>,
    pub(super) flagged: Option<FlaggedName>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetentionSection {
    pub(super) results_s: Option<Quantity>,
    pub(super) unkept_s: Option<Quantity>,
}

/// How the log is written. It begins before the file is read as a whole: [`log_format`] looks for this alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogSection {
    #[allow(dead_code, reason = "read before the rest of the file, and here for its mistakes")]
    pub(super) format: Option<LogFormat>,
}

/// Who reads the metrics, and where.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MetricsSection {
    pub(super) listen: Option<Listen>,
    pub(super) keys: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ModelSection {
    pub(super) weights: Option<PathBuf>,
    pub(super) weights_base: Option<PathBuf>,
    pub(super) components: BTreeMap<String, PathBuf>,
    pub(super) dtype: Option<DtypeName>,
    pub(super) provider: Option<OneOrMore>,
}

/// Names of models for programs that speak OpenAI's API.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OpenAiSection {
    pub(super) aliases: BTreeMap<String, String>,
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

/// `[log] format` of a file that may be wrong in any other way: why it is wrong is said in that format.
pub(crate) fn log_format(path: Option<&Path>) -> Option<LogFormat> {
    let text = std::fs::read_to_string(path?).ok()?;
    let (table, _) = toml::de::DeTable::parse_recoverable(&text);
    let section = table.get_ref().get("log")?.get_ref().as_table()?;
    LogFormat::from_str(section.get("format")?.get_ref().as_str()?, false).ok()
}

impl File {
    /// An empty file is fine, and so is none.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).map_err(|e| Failure::about("read", path, e))?;
        // toml's own message would quote the line, and with it a password in [store] url
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let before = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count();
            let said = plain::explain(error.message());
            let setting = text.lines().nth(line).and_then(plain::setting).filter(|_| said.starts_with("expected "));
            let setting = setting.map_or_else(String::new, |name| format!("{name}: "));
            Failure::Usage(format!("{}, line {}: {setting}{said}", path.display(), line + 1))
        })
    }
}
