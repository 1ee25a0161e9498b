//! Llama 3.1, which HiDream-I1's repositories leave out: its licence has owners fetch it themselves.

use crate::error::{Error, Result};
use crate::stages::TRANSFORMERS;
use crate::weights::{Checkpoint, Precision};

const FOLDER: &str = "text_encoder_4";
const TOKENIZER: &str = "tokenizer_4";

/// Folders beside the checkpoint's that may hold it, named as its repositories are.
const BESIDE: [&str; 6] = [
    "Meta-Llama-3.1-8B-Instruct",
    "Llama-3.1-8B-Instruct",
    "meta-llama-3.1-8b-instruct",
    "llama-3.1-8b-instruct",
    "Meta-Llama-3.1-8B",
    "Llama-3.1-8B",
];

/// Where it is.
#[derive(Clone)]
pub(super) struct Brought {
    /// The checkpoint itself, or a folder beside it.
    pub(super) checkpoint: Checkpoint,
    /// The folder of its weights in there.
    pub(super) weights: &'static str,
    /// The folder of its tokenizer in there.
    pub(super) tokenizer: &'static str,
}

/// In the checkpoint, where its owner may have put it from elsewhere, with its tokenizer in a folder of its own or beside the
/// weights; or in a folder beside the checkpoint's.
pub(super) fn find(checkpoint: &Checkpoint) -> Result<Brought> {
    let has_config = |checkpoint: &Checkpoint, folder: &str| checkpoint.has(&format!("{folder}/config.json"));
    if has_config(checkpoint, FOLDER) {
        let has_tokens = |folder: &str| checkpoint.has(&format!("{folder}/tokenizer.json"));
        // where neither is there, the folder that is meant for it is said to be missing
        let tokenizer = if has_tokens(FOLDER) && !has_tokens(TOKENIZER) { FOLDER } else { TOKENIZER };
        return Ok(Brought { checkpoint: checkpoint.clone(), weights: FOLDER, tokenizer });
    }
    let beside = BESIDE.iter().filter_map(|name| checkpoint.beside(name)).find(|other| has_config(other, "."));
    let missing = || Error::Unreadable {
        path: checkpoint.path(FOLDER),
        reason: format!(
            "HiDream-I1 reads prompts with Llama 3.1 8B Instruct, which its own repository leaves out. Put that model's \
             config.json and weights into {FOLDER} and its tokenizer's files into {TOKENIZER}, or all of it into a folder \
             {} beside this one, or name its folder as the component {FOLDER}",
            BESIDE[0]
        ),
    };
    Ok(Brought { checkpoint: beside.ok_or_else(missing)?, weights: ".", tokenizer: "." })
}

/// What it takes in memory that the checkpoint's own account leaves out, in bytes; nothing where it is not there.
pub(crate) fn bytes_beside(checkpoint: &Checkpoint, precision: &Precision) -> Result<u64> {
    let Ok(brought) = find(checkpoint) else { return Ok(0) };
    let is_listed = checkpoint.config("model_index.json")?.keys().any(|key| key == FOLDER);
    if is_listed && brought.weights == FOLDER {
        Ok(0)
    } else {
        brought.checkpoint.takes_of(brought.weights, TRANSFORMERS, precision)
    }
}
