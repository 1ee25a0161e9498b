//! The models that were fetched: how large they are, what they answer, and how they would run.

use scumble_api::published::{self, CHECKERS, PUBLISHED, Published, gigabytes};
use scumble_engine::checkers::{Checker, CheckerKind};
use scumble_engine::device;
use scumble_engine::weights::Precision;
use scumble_hub::{Models, Whole};
use scumble_worker::runner::{Model, precision};
use scumble_worker::{ModelConfig, ModelsConfig};
use serde_json::{Value, json};

use crate::settings::{fetched, fetched_models, lost, usable};

/// A paragraph for each, below the list of endpoints; nothing where there is none.
pub(super) fn list(all: &[Whole], config: &ModelsConfig) -> String {
    let mut lines = String::new();
    for whole in all {
        let answers = match checker(whole) {
            Some(kind) => format!("looks at pictures, with [safety] checker = \"{}\"", kind.name()),
            None => {
                let model = PUBLISHED.iter().find(|model| model.name == whole.model);
                format!("answers {}", model.map_or(&[][..], |model| model.endpoints).join(", "))
            }
        };
        let from: Vec<_> =
            whole.held.sources.iter().map(|source| format!("{}@{}", source.repository, source.revision)).collect();
        lines += &format!(
            "  {}  {}  {}  {}\n      {answers}\n      from {}\n",
            whole.model,
            whole.held.variant,
            gigabytes(whole.bytes()),
            how(whole, config),
            from.join(", "),
        );
    }
    if let Some(models) = fetched_models() {
        lines.extend(published::all().filter_map(|model| unfinished(model, &models)));
    }
    if lines.is_empty() { lines } else { format!("\nFetched:\n{lines}") }
}

/// A line for a model that may have something here and is not whole.
fn unfinished(model: &Published, models: &Models) -> Option<String> {
    let begun =
        || models.has_begun(model.name).then(|| format!("begun; `scumble models pull {}` goes on", model.pulled_as()));
    let said = models.damage(model.name).map(|error| error.to_string()).or_else(begun)?;
    Some(format!("  {}: {said}\n", model.name))
}

/// Which checker this is, if it is one.
fn checker(whole: &Whole) -> Option<CheckerKind> {
    let (name, _) = CHECKERS.iter().find(|(_, published)| published.name == whole.model)?;
    CheckerKind::parse(name)
}

/// How it would run, or why it cannot.
fn how(whole: &Whole, config: &ModelsConfig) -> String {
    if let (None, Some(kind)) = (lost(whole), checker(whole)) {
        return Checker::examine(kind, &whole.folder).map_or_else(|e| e.to_string(), |()| "can be used".to_owned());
    }
    match (lost(whole), usable(whole)) {
        (Some(why), _) => why,
        (None, Some(fetched)) => {
            let dtype = config.models.values().find(|own| own.weights == fetched.weights).and_then(|own| own.dtype);
            let named = config.devices.first().map_or("cpu", String::as_str);
            let kind = kind(&fetched, named, dtype, config.memory);
            kind.map_or_else(|why| why, |kind| format!("runs on {named} in {kind}"))
        }
        (None, None) => "cannot be used".to_owned(),
    }
}

/// The number type that it is computed in, where models may have so much memory.
fn kind(
    fetched: &ModelConfig,
    named: &str,
    dtype: Option<scumble_engine::DType>,
    memory: Option<u64>,
) -> Result<String, String> {
    let device = device(named).map_err(|e| e.to_string())?;
    let source = fetched.source().ok_or_else(|| "it has no weights".to_owned())?;
    let model = Model { source, precision: Precision { device, dtype } };
    let chosen = precision(&model, memory).map_err(|e| e.to_string())?;
    Ok(chosen.dtype.map_or_else(|| "the files' own types".to_owned(), |dtype| format!("{dtype:?}").to_lowercase()))
}

/// The same for programs.
pub(super) fn json(id: &str, config: &ModelsConfig) -> Value {
    let Some(whole) = fetched(id) else { return Value::Null };
    json!({
        "model": whole.model,
        "variant": whole.held.variant,
        "bytes": whole.bytes(),
        "folder": whole.folder,
        "how": how(&whole, config),
        "sources": whole.held.sources.iter().map(|source| json!({
            "repository": source.repository,
            "revision": source.revision,
            "commit": source.commit,
            "licence": source.licence,
        })).collect::<Vec<_>>(),
    })
}
