//! Files that `torch.save` wrote: a zip archive of a pickle that describes tensors and of the storages with their numbers.

use safetensors::tensor::TensorInfo;

use super::{archive, pickle};

/// Whether a file is such an archive, by its first bytes.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(&archive::LOCAL)
}

/// Names, types and shapes of a file's tensors, with the places of their bytes in it. Nothing of the file is executed and
/// none of its numbers is read.
///
/// # Errors
/// What is wrong with the file, or what it holds beyond tensors.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<(String, TensorInfo)>, String> {
    let entries = archive::entries(bytes)?;
    let mut programs = entries.iter().filter_map(|(name, place)| Some((name.strip_suffix("data.pkl")?, place)));
    let (Some((folder, program)), None) = (programs.next(), programs.next()) else {
        return Err("it is a zip archive, but not one that torch wrote: exactly one data.pkl is expected".into());
    };
    let order = entries.get(&*format!("{folder}byteorder")).map(|place| &bytes[place.clone()]);
    if order.is_some_and(|order| order != b"little") {
        return Err("its numbers are not little-endian".into());
    }
    let described = pickle::tensors(&bytes[program.clone()])?;
    let locate = |(name, tensor): (String, pickle::Pickled<'_>)| {
        let storage = entries.get(&*format!("{folder}data/{}", tensor.storage));
        let storage = storage.ok_or_else(|| format!("its storage {} is missing", tensor.storage))?;
        let width = tensor.dtype.bitsize() / 8;
        if tensor.length.checked_mul(width) != Some(storage.len()) {
            let (number, bytes) = (tensor.storage, storage.len());
            return Err(format!("its storage {number} has {bytes} bytes, not {width} for each of {}", tensor.length));
        }
        // within the storage, as the pickle's reader has seen to
        let start = storage.start + tensor.offset * width;
        let end = start + tensor.count * width;
        Ok((name, TensorInfo { dtype: tensor.dtype, shape: tensor.shape, data_offsets: (start, end) }))
    };
    described.into_iter().map(locate).collect()
}

/// How many tensors a file has, for fuzzing: of an archive, or of a bare pickle.
#[cfg(feature = "fuzz")]
pub fn count_tensors(bytes: &[u8]) -> Result<usize, String> {
    if is_archive(bytes) { tensors(bytes).map(|found| found.len()) } else { pickle::tensors(bytes).map(|found| found.len()) }
}
