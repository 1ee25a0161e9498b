//! scumble.toml. A word that means nothing is an error: a setting that is silently ignored is worse.

use std::collections::HashMap;
use std::path::Path;

use clap::ValueEnum;
use serde::Deserialize;

use super::plain;
use super::sections::{
    AdaptersSection, FetchSection, FilesSection, LimitsSection, LogSection, MetricsSection, ModelSection,
    OpenAiSection, PromptsSection, RetentionSection, SafetySection, ServerSection, StoreSection, WebhooksSection,
    WorkerSection,
};
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
