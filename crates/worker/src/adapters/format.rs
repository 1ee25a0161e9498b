//! What kind of file weights are in: by the name, by the first bytes, and whether all of it is there.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::head::end_of_tensors;

/// A kind of file that an adapter may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Safetensors,
    /// Python's pickles in a zip file, of which only the tensors are read.
    Pickle,
    /// What belongs to the weights: `config.json`.
    Json,
}

/// What a file's name says of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// This one.
    As(Format),
    /// One that is not taken.
    Other(String),
    /// Nothing.
    Nothing,
}

/// Ends of names that are surely something else. Other ends may belong to a version number.
const OTHERS: &[&str] =
    &["ckpt", "gguf", "h5", "msgpack", "npz", "onnx", "pkl", "pt", "pth", "safetensors.index.json", "zip"];

/// The longest head of a safetensors file, in bytes: more than the engine takes, which says why it refuses one.
const HEAD_MAX: u64 = 32 * 1024 * 1024;

impl Format {
    /// Which of these is allowed, in a sentence.
    pub(super) const fn allowed(pickles: bool) -> &'static str {
        if pickles { "safetensors, and .bin with tensors only" } else { "safetensors" }
    }

    /// The end of a file's name.
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Pickle => "bin",
            Self::Json => "json",
        }
    }

    pub(super) const fn is_weights(self, pickles: bool) -> bool {
        match self {
            Self::Safetensors => true,
            Self::Pickle => pickles,
            Self::Json => false,
        }
    }

    /// By the first bytes, of which eight and one are enough.
    pub(super) fn of_bytes(first: &[u8]) -> Option<Self> {
        if first.starts_with(b"PK\x03\x04") {
            return Some(Self::Pickle);
        }
        let (length, rest) = first.split_first_chunk::<8>()?;
        let length = u64::from_le_bytes(*length);
        ((2..=HEAD_MAX).contains(&length) && rest.first() == Some(&b'{')).then_some(Self::Safetensors)
    }
}

impl Named {
    pub(super) fn of(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let ends = |end: &str| name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
        for format in [Format::Safetensors, Format::Pickle] {
            if ends(format.extension()) {
                return Self::As(format);
            }
        }
        OTHERS.iter().find(|end| ends(end)).map_or(Self::Nothing, |end| Self::Other((*end).to_owned()))
    }
}

/// Whether a file on disk is all that its own head says: what was cut on the way is not kept. A file whose head cannot be
/// read is somebody else's to complain about.
pub(super) fn is_whole(path: &Path, format: Format) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    match format {
        Format::Json => Ok(true),
        Format::Pickle => {
            // the directory of a zip file is at its end
            let mut end = Vec::new();
            file.seek(SeekFrom::Start(length.saturating_sub(64 * 1024 + 22)))?;
            file.read_to_end(&mut end)?;
            Ok(end.windows(4).any(|bytes| bytes == b"PK\x05\x06"))
        }
        Format::Safetensors => {
            let mut size = [0; 8];
            file.read_exact(&mut size)?;
            let size = u64::from_le_bytes(size);
            if size > HEAD_MAX || size.saturating_add(8) > length {
                return Ok(false);
            }
            let Some(end) = end_of_tensors(file.take(size)) else { return Ok(true) };
            Ok(size.saturating_add(8).saturating_add(end) <= length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_first_bytes_tell() {
        assert_eq!(Named::of("a.b/LoRA.SafeTensors"), Named::As(Format::Safetensors));
        assert_eq!(Named::of("ip-adapter.bin"), Named::As(Format::Pickle));
        assert_eq!(Named::of("model.ckpt"), Named::Other("ckpt".into()));
        for nothing in ["download", "v1.5", "safetensors", "bin", ""] {
            assert_eq!(Named::of(nothing), Named::Nothing, "{nothing}");
        }
        assert_eq!(Format::of_bytes(b"\x40\0\0\0\0\0\0\0{\"a\":"), Some(Format::Safetensors));
        assert_eq!(Format::of_bytes(b"PK\x03\x04\0\0"), Some(Format::Pickle));
        for other in [&b"<!doctype html>"[..], b"\x80\x02}q", b"", b"\xff\xff\xff\xff\xff\xff\xff\xff{"] {
            assert_eq!(Format::of_bytes(other), None, "{other:?}");
        }
    }
}
