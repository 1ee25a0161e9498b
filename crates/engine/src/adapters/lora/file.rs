//! The file of a LoRA: a stranger's, believed only after a look.

use candle_core::{Device, Tensor};
use safetensors::Dtype;

use super::super::Lora;
use crate::error::{Error, Result};
use crate::weights::bytes::Bytes;
use crate::weights::header::LONGEST_HEADER;
use crate::weights::shards::Shards;

/// An opened file, with what messages say of it.
pub(super) struct File {
    shards: Shards,
    /// Which of the call's LoRAs it is.
    index: usize,
    /// As the caller named it.
    name: String,
}

impl File {
    /// Opens the `index`-th LoRA of a call, which holds at most `most` tensors.
    pub(super) fn open(lora: &Lora, index: usize, most: usize) -> Result<Self> {
        let name = lora.files.name.clone();
        // the caller knows the name, not where the file lies
        let told = |error: Error| match error {
            Error::Unreadable { reason, .. } => refusal(index, &name, format!("the file cannot be read: {reason}")),
            Error::Damaged { reason, .. } => refusal(index, &name, format!("the file is damaged: {reason}")),
            other => other,
        };
        let mut files = Vec::new();
        for path in &lora.files.weights {
            let bytes = Bytes::open(path).map_err(told)?;
            check_start(&bytes).map_err(|problem| refusal(index, &name, problem))?;
            files.push((path.clone(), bytes));
        }
        let listing = lora.files.weights.first().cloned().unwrap_or_default();
        let shards = Shards::open_adapter(listing, files, most).map_err(told)?;
        let this = Self { shards, index, name };
        match this.shards.names().count() {
            0 => Err(this.refuse("the file holds no tensors")),
            count if count > most => {
                Err(this.refuse(format!("the file holds {count} tensors; a LoRA for this model has at most {most}")))
            }
            _ => Ok(this),
        }
    }

    /// Why the LoRA cannot be used.
    pub(super) fn refuse(&self, problem: impl Into<String>) -> Error {
        refusal(self.index, &self.name, problem.into())
    }

    /// As the caller named it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The names of its tensors, in order.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.shards.names().collect();
        names.sort_unstable();
        names
    }

    /// An entry of its metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.shards.metadata(key)
    }

    /// The shape of a tensor that is there.
    pub(super) fn shape(&self, name: &str) -> Vec<usize> {
        self.shards.find(name).map(|(_, info)| info.shape.clone()).unwrap_or_default()
    }

    /// A tensor that is there, float32 on the CPU.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor> {
        let Some((_, info)) = self.shards.find(name) else {
            return Err(self.refuse(format!("{name} is missing")));
        };
        let bytes = self.shards.bytes(name).map_err(|error| match error {
            Error::Unreadable { reason, .. } => self.refuse(format!("the file cannot be read: {reason}")),
            other => other,
        })?;
        let values = numbers(info.dtype, &bytes).ok_or_else(|| {
            let types = "float32, bfloat16, float16 and float8 are read";
            self.refuse(format!("{name} has type {:?}; {types}", info.dtype))
        })?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.refuse(format!("{name} holds NaN or infinity")));
        }
        Ok(Tensor::from_vec(values, info.shape.as_slice(), &Device::Cpu)?)
    }

    /// A tensor of a single number.
    pub(super) fn number(&self, name: &str) -> Result<f64> {
        let shape = self.shape(name);
        if shape.iter().product::<usize>() != 1 {
            return Err(self.refuse(format!("{name} should be one number, and has shape {shape:?}")));
        }
        Ok(f64::from(self.tensor(name)?.flatten_all()?.to_vec1::<f32>()?[0]))
    }
}

fn refusal(index: usize, name: &str, problem: String) -> Error {
    Error::Adapter { field: vec!["loras".into(), index.to_string(), "path".into()], name: name.to_owned(), problem }
}

/// A look at the first bytes, before anything is made of what they promise.
fn check_start(bytes: &Bytes) -> std::result::Result<(), String> {
    let too_short = |_| "the file is damaged: it is too short to be a safetensors file".to_owned();
    let start = bytes.get(0..9).map_err(too_short)?;
    let length = start[..8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    match start[8] {
        b'{' if length <= LONGEST_HEADER as u64 => Ok(()),
        b'{' => Err(format!("the file is damaged: its header claims {length} bytes, {LONGEST_HEADER} are allowed")),
        _ => Err("it is not a safetensors file, the only kind that is read here; others can run code".into()),
    }
}

/// Numbers of a stored type; `None` for types that LoRAs have no use for.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn of<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
    }
    Some(match dtype {
        Dtype::F64 => of(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => of(bytes, f32::from_le_bytes),
        Dtype::F16 => of(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => of(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::F8_E4M3 => of(bytes, |[b]| e4m3(b)),
        // the upper half of a float16
        Dtype::F8_E5M2 => of(bytes, |[b]| half::f16::from_le_bytes([0, b]).to_f32()),
        Dtype::I64 => of(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => of(bytes, |b| i32::from_le_bytes(b) as f32),
        _ => return None,
    })
}

/// One sign, four bits of exponent with bias 7, three of fraction; no infinities.
fn e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction * 2f32.powi(-9),
        _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
    };
    if byte & 0x80 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_are_read_as_their_authors_meant_them() {
        assert_eq!([0x00, 0x01, 0x08, 0x38, 0x7e, 0xb8].map(e4m3), [0.0, 0.001_953_125, 0.015_625, 1.0, 448.0, -1.0]);
        assert!(e4m3(0x7f).is_nan());
        assert_eq!(numbers(Dtype::F8_E5M2, &[0x3c, 0xc0, 0x7b]), Some(vec![1.0, -2.0, 57344.0]));
        assert_eq!(numbers(Dtype::BOOL, &[1]), None);
    }
}
