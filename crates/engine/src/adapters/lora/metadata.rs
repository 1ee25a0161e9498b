//! What diffusers writes into the header of a LoRA: alphas, where no tensors hold them.

use serde_json::{Map, Value};

use super::file::File;
use crate::error::Result;

const KEY: &str = "lora_adapter_metadata";
/// Bytes of it: an alpha for every module of a large model takes a tenth.
const LONGEST: usize = 1 << 20;

/// The configuration of a LoRA; empty where its header has none.
pub(super) struct Metadata(Map<String, Value>);

impl Metadata {
    pub(super) fn read(file: &File) -> Result<Self> {
        let Some(text) = file.metadata(KEY) else { return Ok(Self(Map::new())) };
        if text.len() > LONGEST {
            return Err(
                file.refuse(format!("{KEY} in its header has {} bytes; at most {LONGEST} are read", text.len()))
            );
        }
        match serde_json::from_str(text) {
            Ok(Value::Object(values)) => Ok(Self(values)),
            _ => Err(file.refuse(format!("{KEY} in its header is not a JSON object"))),
        }
    }

    /// The factor of a module's change of this rank: 1 where nothing is said of it.
    pub(super) fn factor(&self, file: &File, folder: &str, module: Option<&str>, rank: usize) -> Result<f64> {
        let of =
            |key: &str| self.0.get(&format!("{folder}.{key}")).or_else(|| self.0.get(key)).filter(|v| !v.is_null());
        let own = match (of("alpha_pattern"), module) {
            (Some(Value::Object(patterns)), Some(module)) => matching(file, patterns, module)?,
            _ => None,
        };
        let Some(alpha) = own.or_else(|| of("lora_alpha")) else { return Ok(1.0) };
        let alpha =
            alpha.as_f64().ok_or_else(|| file.refuse(format!("{KEY} in its header has an alpha of {alpha}")))?;
        let of_rank = of("use_rslora").is_some_and(|flag| flag == &Value::Bool(true));
        Ok(alpha / if of_rank { (rank as f64).sqrt() } else { rank as f64 })
    }
}

/// The value whose name is the module's, or the end of it.
fn matching<'a>(file: &File, patterns: &'a Map<String, Value>, module: &str) -> Result<Option<&'a Value>> {
    if let Some(value) = patterns.get(module) {
        return Ok(Some(value));
    }
    for (pattern, value) in patterns {
        if pattern.contains(['*', '+', '?', '[', '(', '|', '^', '$', '\\']) {
            let problem =
                format!("{KEY} in its header picks modules by the regular expression {pattern}; names are read");
            return Err(file.refuse(problem));
        }
        if module.strip_suffix(pattern.as_str()).is_some_and(|before| before.ends_with('.')) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}
