//! The header of a safetensors file: names, types, shapes and places.

use std::collections::HashMap;

use safetensors::tensor::{Metadata, TensorInfo};

use super::bytes::Bytes;

/// The longest header of an adapter, in bytes: some trainers write megabytes of notes into it.
pub(crate) const LONGEST_HEADER: usize = 8 << 20;
/// The longest header of a checkpoint, which is its owner's: what the safetensors crate takes.
pub(super) const LONGEST_OWN_HEADER: usize = 100_000_000;

/// What is in one file.
pub(super) struct Contents {
    /// Places are counted from the file's first byte.
    pub(super) tensors: Vec<(String, TensorInfo)>,
    pub(super) notes: HashMap<String, String>,
}

/// How much a file may say of itself.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of its header.
    pub(crate) header: usize,
    /// Tensors in it.
    pub(crate) tensors: usize,
}

/// What is in a safetensors file; none of its numbers is read.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn read(bytes: &Bytes, limits: Limits) -> Result<Contents, String> {
    let invalid = |reason: String| format!("it is not a valid safetensors file: {reason}");
    let start = bytes.get(0..8).map_err(|_| invalid("it is too short".into()))?;
    let length = start.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= limits.header)
        .ok_or_else(|| invalid(format!("its header claims {length} bytes, {} are allowed", limits.header)))?;
    let data = 8 + length;
    let header = bytes.get(8..data).map_err(|e| invalid(format!("its header cannot be read: {e}")))?;
    // before anything is made of them
    if objects(&header).saturating_sub(2) > limits.tensors {
        return Err(format!("it holds more than {} tensors, which is the most that is taken", limits.tensors));
    }
    // checks types, shapes and that the places follow each other without gaps
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| invalid(e.to_string()))?;
    if metadata.data_len().checked_add(data) != Some(bytes.len()) {
        let (promised, found) = (metadata.data_len(), bytes.len() - data);
        return Err(invalid(format!("its header promises {promised} bytes of numbers, and it has {found}")));
    }
    let place = |(name, info): (String, &TensorInfo)| {
        let (start, end) = info.data_offsets;
        (name, TensorInfo { data_offsets: (data + start, data + end), ..info.clone() })
    };
    let tensors = metadata.tensors().into_iter().map(place).collect();
    Ok(Contents { tensors, notes: metadata.metadata().clone().unwrap_or_default() })
}

/// How many objects begin in a JSON text: the header itself, its notes, and one for each tensor.
fn objects(json: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_counted_and_braces_in_texts_are_not() {
        assert_eq!(objects(br#"{"__metadata__":{"a":"{{{\"{\\"},"b":{"dtype":"F32"}}"#), 3);
        assert_eq!(objects(br#"{"a\u007b":{}}"#), 2);
        assert_eq!(objects(b""), 0);
    }
}
