//! Files as `torch.save` writes them: a pickle of dictionaries of tensors, and their numbers, in a zip archive.

use std::collections::BTreeMap;

use scumble_engine::{DType, Tensor};

use super::adapters::Tensors;

/// One dictionary for each first part of a name, as the adapters' publisher has it; with the table of contents for large
/// files that torch always writes.
///
/// # Panics
/// For tensors that are not of float32, float16 or bfloat16.
pub(super) fn archive(tensors: &Tensors) -> Vec<u8> {
    let mut groups: BTreeMap<&str, Vec<(&str, &Tensor)>> = BTreeMap::new();
    for (name, tensor) in tensors {
        let (group, rest) = name.split_once('.').unwrap_or(("", name));
        groups.entry(group).or_default().push((rest, tensor));
    }
    let (mut program, mut storages) = (b"\x80\x02}(".to_vec(), Vec::new());
    for (group, members) in groups {
        // a name of one part has no dictionary of its own
        if !group.is_empty() {
            text(&mut program, group);
            program.extend(b"}(");
        }
        for (name, tensor) in members {
            text(&mut program, name);
            describe(&mut program, tensor, storages.len());
            storages.push(bytes(tensor));
        }
        if !group.is_empty() {
            program.push(b'u');
        }
    }
    program.extend(b"u.");
    let mut entries = vec![("tiny/data.pkl".to_owned(), program), ("tiny/byteorder".to_owned(), b"little".to_vec())];
    entries.extend(storages.into_iter().enumerate().map(|(i, data)| (format!("tiny/data/{i}"), data)));
    entries.push(("tiny/version".to_owned(), b"3\n".to_vec()));
    zip(&entries)
}

fn text(program: &mut Vec<u8>, text: &str) {
    program.push(b'X');
    program.extend((text.len() as u32).to_le_bytes());
    program.extend(text.as_bytes());
}

fn number(program: &mut Vec<u8>, value: usize) {
    program.push(b'J');
    program.extend(i32::try_from(value).expect("tiny sizes").to_le_bytes());
}

fn tuple(program: &mut Vec<u8>, values: &[usize]) {
    program.push(b'(');
    values.iter().for_each(|value| number(program, *value));
    program.push(b't');
}

fn describe(program: &mut Vec<u8>, tensor: &Tensor, storage: usize) {
    program.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(program, "storage");
    let kind = match tensor.dtype() {
        DType::F32 => "Float",
        DType::F16 => "Half",
        DType::BF16 => "BFloat16",
        other => panic!("{other:?} is not written"),
    };
    program.extend(format!("ctorch\n{kind}Storage\n").as_bytes());
    text(program, &storage.to_string());
    text(program, "cuda:0");
    number(program, tensor.elem_count());
    program.extend(b"tQK\0");
    tuple(program, tensor.dims());
    let strides: Vec<usize> = (1..=tensor.rank()).map(|i| tensor.dims()[i..].iter().product()).collect();
    tuple(program, &strides);
    program.extend(b"\x89ccollections\nOrderedDict\n)RtR");
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    use safetensors::View;
    tensor.data().into_owned()
}

fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut listing) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let (place, length) = (file.len() as u32, data.len() as u32);
        // torch pads the extra field, so that numbers begin at a multiple of 64
        let padding = 64 - (file.len() + 30 + name.len() + 4) % 64;
        file.extend(b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0");
        file.extend([0; 12]);
        file.extend((name.len() as u16).to_le_bytes());
        file.extend((padding as u16 + 4).to_le_bytes());
        file.extend(name.as_bytes());
        file.extend(b"FB");
        file.extend((padding as u16).to_le_bytes());
        file.extend(vec![b'Z'; padding]);
        file.extend(data);
        file.extend(b"PK\x07\x08");
        [crc.sum(), length, length].into_iter().for_each(|value| file.extend(value.to_le_bytes()));
        listing.extend(b"PK\x01\x02\0\0\0\0\x08\x08\0\0\0\0\0\0");
        [crc.sum(), length, length].into_iter().for_each(|value| listing.extend(value.to_le_bytes()));
        listing.extend((name.len() as u16).to_le_bytes());
        listing.extend([0; 12]);
        listing.extend(place.to_le_bytes());
        listing.extend(name.as_bytes());
    }
    let (start, size, count) = (file.len() as u64, listing.len() as u64, entries.len() as u64);
    file.extend(listing);
    let record = file.len() as u64;
    file.extend(b"PK\x06\x06");
    file.extend(44u64.to_le_bytes());
    file.extend([0; 12]);
    [count, count, size, start].into_iter().for_each(|value| file.extend(value.to_le_bytes()));
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend(record.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(b"PK\x05\x06\0\0\0\0");
    [count as u16, count as u16].into_iter().for_each(|value| file.extend(value.to_le_bytes()));
    [size as u32, start as u32].into_iter().for_each(|value| file.extend(value.to_le_bytes()));
    file.extend([0; 2]);
    file
}
