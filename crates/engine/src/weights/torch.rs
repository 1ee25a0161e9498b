//! Files that `torch.save` wrote: a zip archive of a pickle that describes tensors and of the storages with their numbers.

use std::ops::Range;

use safetensors::tensor::TensorInfo;

use super::bytes::Look;
use super::{archive, pickle};

/// Bytes of the pickle that describes the tensors: a hundred for each are usual.
const LONGEST_PROGRAM: usize = 8 << 20;

/// Whether a file is such an archive, by its first bytes.
pub(super) fn is_archive<L: Look + ?Sized>(file: &L) -> bool {
    file.look(0..4).is_some_and(|start| *start == archive::LOCAL)
}

/// Names, types and shapes of a file's tensors, with the places of their bytes in it. Nothing of the file is executed and
/// none of its numbers is read.
///
/// # Errors
/// What is wrong with the file, or what it holds beyond tensors.
pub(super) fn tensors<L: Look + ?Sized>(file: &L) -> Result<Vec<(String, TensorInfo)>, String> {
    let entries = archive::entries(file)?;
    let mut programs = entries.iter().filter_map(|(name, place)| Some((name.strip_suffix("data.pkl")?, place)));
    let (Some((folder, program)), None) = (programs.next(), programs.next()) else {
        return Err("it is a zip archive, but not one that torch wrote: exactly one data.pkl is expected".into());
    };
    let unreadable = || "it cannot be read any more".to_owned();
    let small = |place: &Range<usize>| {
        let fits = place.len() <= LONGEST_PROGRAM;
        if fits { file.look(place.clone()).ok_or_else(unreadable) } else { Err("its data.pkl is too long".into()) }
    };
    let order = entries.get(&*format!("{folder}byteorder")).map(small).transpose()?;
    if order.is_some_and(|order| *order != *b"little") {
        return Err("its numbers are not little-endian".into());
    }
    let program = small(program)?;
    let described = pickle::tensors(&program)?;
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
    if is_archive(bytes) {
        tensors(bytes).map(|found| found.len())
    } else {
        pickle::tensors(bytes).map(|found| found.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use safetensors::Dtype;

    use super::*;

    // made by tests/golden/make_torch.py, and by torch
    const FILES: [&[u8]; 3] = [
        include_bytes!("../../tests/golden/torch_2.bin"),
        include_bytes!("../../tests/golden/torch_4.bin"),
        include_bytes!("../../tests/golden/torch_itself.bin"),
    ];

    fn refused(bytes: &[u8]) -> String {
        tensors(bytes).expect_err("it is refused")
    }

    /// The file with one run of bytes exchanged for another of the same length, everywhere.
    fn with(old: &[u8], new: &[u8]) -> Vec<u8> {
        assert_eq!(old.len(), new.len());
        let mut bytes = FILES[0].to_vec();
        let places: Vec<usize> = (0..=bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|at| bytes[at..at + new.len()].copy_from_slice(new));
        bytes
    }

    #[test]
    fn files_of_both_protocols_are_read() {
        for bytes in FILES {
            let found: BTreeMap<String, TensorInfo> = tensors(bytes).expect("it is read").into_iter().collect();
            let names: Vec<&str> = found.keys().map(String::as_str).collect();
            let expected = [
                "image_proj.latents",
                "image_proj.norm.weight",
                "ip_adapter.0.to_k_ip.weight",
                "ip_adapter.0.to_v_ip.weight",
            ];
            assert_eq!(names, expected);
            let data = |name: &str| {
                let (start, end) = found[name].data_offsets;
                &bytes[start..end]
            };
            let latents = &found["image_proj.latents"];
            assert_eq!((latents.dtype, &latents.shape[..]), (Dtype::F16, &[1, 3][..]));
            assert_eq!(data("image_proj.latents"), [0x00, 0x38, 0x00, 0xbc, 0x00, 0x40]);
            assert_eq!(found["ip_adapter.0.to_k_ip.weight"].dtype, Dtype::BF16);
            assert_eq!(data("ip_adapter.0.to_k_ip.weight"), [0x80, 0x3f, 0x60, 0xc0]);
            // two views of one storage, of which the second begins at its ninth number
            assert_eq!(data("image_proj.norm.weight").len(), 24);
            let last: Vec<u8> = [4.0f32, 4.5, 5.0, 5.5].iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(data("ip_adapter.0.to_v_ip.weight"), last);
        }
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_is_refused_or_read_and_nothing_else() {
        for bytes in FILES {
            for length in 0..bytes.len() {
                refused(&bytes[..length]);
            }
            for at in 0..bytes.len() {
                for flipped in [1, 0x80, 0xff] {
                    let mut bytes = bytes.to_vec();
                    bytes[at] ^= flipped;
                    for (_, info) in tensors(&bytes[..]).unwrap_or_default() {
                        assert!(info.data_offsets.0 <= info.data_offsets.1 && info.data_offsets.1 <= bytes.len());
                    }
                }
            }
        }
    }

    #[test]
    fn what_torch_does_not_write_is_named() {
        assert!(refused(&with(b"FloatStorage", b"CharsStorage")).contains("torch.CharsStorage"));
        assert!(refused(&with(b"data.pkl", b"data.txt")).contains("data.pkl"));
        assert!(refused(&with(b"little", b"biggie")).contains("little-endian"));
        assert!(refused(&with(b"data/2", b"data/7")).contains("storage 2 is missing"));
        assert!(refused(&with(b"K\x0ct", b"K\x0dt")).contains("has 48 bytes, not 4 for each of 13"));
        // method and flags in the table of contents: deflated, encrypted
        let listed = b"PK\x01\x02\x14\x03\x14\x00";
        let deflated = [&listed[..], b"\x00\x00\x08\x00"].concat();
        assert!(refused(&with(&[&listed[..], b"\x00\x00\x00\x00"].concat(), &deflated)).contains("compressed"));
        let locked = [&listed[..], b"\x01\x00\x00\x00"].concat();
        assert!(refused(&with(&[&listed[..], b"\x00\x00\x00\x00"].concat(), &locked)).contains("encrypted"));
    }

    #[test]
    fn entries_may_not_overlap() {
        // the storage 1 is listed at the place of the storage 0, which has its name there
        let mut bytes = FILES[0].to_vec();
        let find = |bytes: &[u8], what: &[u8], nth: usize| {
            (0..bytes.len() - what.len()).filter(|at| bytes[*at..].starts_with(what)).nth(nth).expect("it is there")
        };
        let (first, second) = (find(&bytes, b"data/0", 1), find(&bytes, b"data/1", 1));
        let header = |name: usize| name - "ip-adapter/".len() - 46;
        let place = bytes[header(first) + 42..header(first) + 46].to_vec();
        bytes[header(second) + 42..header(second) + 46].copy_from_slice(&place);
        assert!(refused(&bytes).contains("not where it should be"));
        // and with the same name as well
        bytes[second + 5] = b'0';
        assert!(refused(&bytes).contains("twice"));
        // a storage that reaches over the next entry
        let mut bytes = FILES[0].to_vec();
        let at = header(find(&bytes, b"data/0", 1));
        bytes[at + 20..at + 24].copy_from_slice(&60u32.to_le_bytes());
        bytes[at + 24..at + 28].copy_from_slice(&60u32.to_le_bytes());
        assert!(refused(&bytes).contains("overlap"));
    }
}
