//! What a checkpoint takes in memory, known before it is loaded.

use super::hidream;
use crate::error::Result;
use crate::weights::{Checkpoint, Precision};

/// What the weights of a model take in memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// All of them.
    pub bytes: u64,
    /// Those of its text encoders, which may [leave](super::Pipeline::encoders) while nobody needs them.
    pub encoders: u64,
}

/// What a checkpoint would take in this type, with what stands beside it.
///
/// # Errors
/// As [`Checkpoint::weights`].
pub fn footprint(checkpoint: &Checkpoint, precision: &Precision) -> Result<Footprint> {
    let beside =
        if checkpoint.class() == hidream::FAMILY.class { hidream::bytes_beside(checkpoint, precision)? } else { 0 };
    let parts = checkpoint.takes(precision)?;
    let is_encoder = |name: &str| ["text_encoder", "mllm"].iter().any(|start| name.starts_with(start));
    let encoders = parts.iter().filter(|(name, _)| is_encoder(name)).map(|(_, bytes)| bytes).sum::<u64>() + beside;
    Ok(Footprint { bytes: parts.iter().map(|(_, bytes)| bytes).sum::<u64>() + beside, encoders })
}
