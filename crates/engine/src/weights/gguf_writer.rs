//! The head of a GGUF file, before the numbers: what `gguf` reads.

use super::encode::Written;
use super::gguf::{ALIGNMENT, MAGIC};

/// The version that every reader of today takes.
const VERSION: u32 = 3;
/// Kinds of values: a whole number, a text.
const NUMBER: u32 = 4;
const TEXT: u32 = 8;

/// A tensor of a file that is to be written.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: &'a [usize],
    pub(crate) written: Written,
}

impl Entry<'_> {
    /// The bytes of its numbers.
    pub(crate) fn length(&self) -> usize {
        self.written.takes(self.shape.iter().product())
    }
}

/// The head of a file of these tensors, up to where the numbers of the first begin. Each of them follows the one before, at the
/// next multiple of [`ALIGNMENT`].
pub(crate) fn head(architecture: &str, file_type: u32, tensors: &[Entry<'_>]) -> Vec<u8> {
    let mut head = [MAGIC, &VERSION.to_le_bytes()].concat();
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(3u64.to_le_bytes());
    text(&mut head, "general.architecture");
    head.extend(TEXT.to_le_bytes());
    text(&mut head, architecture);
    for (key, value) in [("general.quantization_version", 2), ("general.file_type", file_type)] {
        text(&mut head, key);
        head.extend([NUMBER.to_le_bytes(), value.to_le_bytes()].concat());
    }
    let mut offset = 0u64;
    for tensor in tensors {
        text(&mut head, tensor.name);
        head.extend((tensor.shape.len() as u32).to_le_bytes());
        // the one along rows comes first
        tensor.shape.iter().rev().for_each(|size| head.extend((*size as u64).to_le_bytes()));
        head.extend(tensor.written.ggml().to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset = (offset + tensor.length() as u64).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len() + padding(head.len() as u64), 0);
    head
}

/// Zeros that follow so many bytes.
pub(crate) fn padding(length: u64) -> usize {
    (length.next_multiple_of(ALIGNMENT) - length) as usize
}

fn text(head: &mut Vec<u8>, text: &str) {
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::gguf;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let tensors = [
            Entry { name: "a.weight", shape: &[3, 64], written: Written::Q8_0 },
            Entry { name: "a.bias", shape: &[5], written: Written::BF16 },
            Entry { name: "b.weight", shape: &[1, 2, 256], written: Written::Q4K },
        ];
        let mut file = head("flux", 7, &tensors);
        for tensor in &tensors {
            file.resize(file.len() + tensor.length(), 1);
            file.resize(file.len() + padding(file.len() as u64), 0);
        }
        let header = gguf::read(&file).expect("a file");
        assert_eq!(header.numbers["general.file_type"], 7);
        for (found, wanted) in header.tensors.iter().zip(&tensors) {
            assert_eq!((&*found.name, &*found.shape), (wanted.name, wanted.shape));
            assert_eq!(found.range.len(), wanted.length());
            assert!(file[found.range.clone()].iter().all(|byte| *byte == 1));
        }
    }
}
