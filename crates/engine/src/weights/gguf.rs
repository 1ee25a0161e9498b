//! The header of a GGUF file: names, types, shapes and places.
//!
//! Everything that the file says of itself is checked against its length before anything is made of it.

use std::collections::HashMap;
use std::ops::Range;

use super::archive::shown;
use super::encoding::Encoding;

/// How a file begins.
pub(super) const MAGIC: &[u8] = b"GGUF";
/// More dimensions than any tensor has.
const MOST_DIMENSIONS: u32 = 8;
/// Arrays within arrays.
const DEEPEST: u32 = 3;
/// Where nothing else is said, tensors begin at multiples of this.
pub(super) const ALIGNMENT: u64 = 32;
/// Before the name of a tensor that is stored in another shape than it has.
const SHAPE: &str = "comfy.gguf.orig_shape.";

/// A tensor of a file.
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) encoding: Encoding,
    /// Counted from the file's first byte; empty for a type whose size is not known.
    pub(super) range: Range<usize>,
}

/// What a file says.
pub(super) struct Header {
    pub(super) tensors: Vec<Listed>,
    /// Whole numbers among the metadata.
    pub(super) numbers: HashMap<String, u64>,
}

/// Reads the header of a file.
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn read(file: &[u8]) -> Result<Header, String> {
    Reader { file, at: 0 }.header().map_err(|reason| format!("it is not a valid GGUF file: {reason}"))
}

/// How many tensors a file has, for fuzzing.
#[cfg(feature = "fuzz")]
pub fn count_gguf_tensors(bytes: &[u8]) -> Result<usize, String> {
    read(bytes).map(|header| header.tensors.len())
}

struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

/// A value of the metadata, as far as anybody here asks for it.
enum Value {
    Number(u64),
    Numbers(Vec<u64>),
    Other,
}

impl<'a> Reader<'a> {
    fn header(mut self) -> Result<Header, String> {
        if self.take(4)? != MAGIC {
            return Err("it does not begin with GGUF".into());
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("its version is {version}; 2 and 3 are read"));
        }
        let (tensors, entries) = (self.u64()?, self.u64()?);
        let (mut numbers, mut shapes) = (HashMap::new(), HashMap::new());
        // each takes bytes of the file, so that a number too large ends at its end
        for _ in 0..entries {
            let key = self.text()?;
            let kind = self.u32()?;
            match self.value(kind, 0)? {
                Value::Number(number) => drop(numbers.insert(key.to_owned(), number)),
                Value::Numbers(list) => drop(key.strip_prefix(SHAPE).map(|name| shapes.insert(name.to_owned(), list))),
                Value::Other => {}
            }
        }
        let mut listed = Vec::new();
        for _ in 0..tensors {
            listed.push(self.tensor()?);
        }
        let alignment = numbers.get("general.alignment").copied().unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(format!("its alignment is {alignment}"));
        }
        let start = (self.at as u64).next_multiple_of(alignment);
        let tensors = listed.into_iter().map(|(listed, offset)| self.place(listed, start, offset, alignment, &shapes));
        let tensors = apart(tensors.collect::<Result<_, String>>()?)?;
        Ok(Header { tensors, numbers })
    }

    fn tensor(&mut self) -> Result<(Listed, u64), String> {
        let name = self.text()?.to_owned();
        let count = self.u32()?;
        if count > MOST_DIMENSIONS {
            return Err(format!("tensor {} has {count} dimensions", shown(&name)));
        }
        let mut shape = (0..count).map(|_| self.size()).collect::<Result<Vec<usize>, String>>()?;
        // the one along rows comes first
        shape.reverse();
        let encoding = Encoding::of_ggml(self.u32()?);
        Ok((Listed { name, shape, encoding, range: 0..0 }, self.u64()?))
    }

    /// Finds a tensor's bytes, and the shape that it has.
    fn place(
        &self,
        mut listed: Listed,
        start: u64,
        offset: u64,
        alignment: u64,
        shapes: &HashMap<String, Vec<u64>>,
    ) -> Result<Listed, String> {
        let Listed { name, shape, encoding, range } = &mut listed;
        let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        let count = count.ok_or_else(|| format!("tensor {} has the impossible shape {shape:?}", shown(name)))?;
        if let Some((values, bytes)) = encoding.unit() {
            if !shape.last().copied().unwrap_or(1).is_multiple_of(values) {
                return Err(format!("tensor {} has the shape {shape:?}, which {encoding} cannot have", shown(name)));
            }
            let find = || {
                let first = usize::try_from(start.checked_add(offset)?).ok()?;
                let end = first.checked_add((count / values).checked_mul(bytes)?)?;
                (offset.is_multiple_of(alignment) && end <= self.file.len()).then_some(first..end)
            };
            *range = find().ok_or_else(|| {
                format!(
                    "tensor {} reaches beyond the end, or is not aligned: the file is cut short or damaged",
                    shown(name)
                )
            })?;
        }
        if let Some(other) = shapes.get(name.as_str()) {
            let other: Option<Vec<usize>> = other.iter().map(|size| usize::try_from(*size).ok()).collect();
            let same = |other: &Vec<usize>| {
                other.iter().try_fold(1usize, |product, size| product.checked_mul(*size)) == Some(count)
            };
            *shape = other.filter(same).ok_or_else(|| {
                format!("tensor {} is stored as {shape:?}, and {SHAPE} says another number of values", shown(name))
            })?;
        }
        Ok(listed)
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, String> {
        match kind {
            0 | 1 | 7 => self.take(1).map(|byte| Value::Number(u64::from(byte[0]))),
            2 | 3 => self.take(2).map(|b| Value::Number(u64::from(u16::from_le_bytes([b[0], b[1]])))),
            4 | 5 => self.u32().map(|number| Value::Number(u64::from(number))),
            6 => self.take(4).map(|_| Value::Other),
            8 => self.text().map(|_| Value::Other),
            9 => self.array(depth),
            10 | 11 => self.u64().map(Value::Number),
            12 => self.take(8).map(|_| Value::Other),
            other => Err(format!("it holds a value of the unknown kind {other}")),
        }
    }

    fn array(&mut self, depth: u32) -> Result<Value, String> {
        if depth >= DEEPEST {
            return Err("it holds arrays within arrays within arrays".into());
        }
        let (kind, count) = (self.u32()?, self.u64()?);
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            _ => {
                // each takes eight bytes at least
                for _ in 0..count {
                    self.value(kind, depth + 1)?;
                }
                return Ok(Value::Other);
            }
        };
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(width));
        let bytes = self.take(length.ok_or("it is cut short")?)?;
        let few = count <= u64::from(MOST_DIMENSIONS) && matches!(kind, 4 | 5 | 10 | 11);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(if few { Value::Numbers(bytes.chunks_exact(width).map(number).collect()) } else { Value::Other })
    }

    fn size(&mut self) -> Result<usize, String> {
        usize::try_from(self.u64()?).map_err(|_| "a dimension is too large".into())
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let length = self.size()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| "it holds a text that is not UTF-8".into())
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.take(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.take(8).map(|bytes| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let taken = self.at.checked_add(length).and_then(|end| self.file.get(self.at..end));
        let taken = taken.ok_or("it is cut short")?;
        self.at += length;
        Ok(taken)
    }
}

/// Makes sure that no name is there twice and that no two tensors share bytes.
fn apart(tensors: Vec<Listed>) -> Result<Vec<Listed>, String> {
    let mut places: Vec<(&Range<usize>, &str)> =
        tensors.iter().filter(|t| !t.range.is_empty()).map(|t| (&t.range, t.name.as_str())).collect();
    places.sort_by_key(|(range, _)| range.start);
    if let Some(pair) = places.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        return Err(format!("its tensors {} and {} overlap", shown(pair[0].1), shown(pair[1].1)));
    }
    let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("it holds the tensor {} twice", shown(pair[0]))),
        None => Ok(tensors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    /// A file with one Q8_0 matrix `[2, 64]`, one float32 vector and some metadata.
    fn file() -> Vec<u8> {
        let mut file = [MAGIC, &3u32.to_le_bytes(), &2u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
        file.extend([text("general.architecture"), 8u32.to_le_bytes().to_vec(), text("flux")].concat());
        file.extend([text("a.count"), 4u32.to_le_bytes().to_vec(), 7u32.to_le_bytes().to_vec()].concat());
        let words = [9u32.to_le_bytes(), 8u32.to_le_bytes()].concat();
        file.extend([text("words"), words, 2u64.to_le_bytes().to_vec(), text("a"), text("bc")].concat());
        for (name, dims, kind, offset) in [("m", &[64u64, 2][..], 8u32, 0u64), ("v", &[4], 0, 160)] {
            file.extend(text(name));
            file.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|size| file.extend(size.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(vec![1; 160 + 16]);
        file
    }

    #[test]
    fn a_header_is_read() {
        let file = file();
        let header = read(&file).expect("a file");
        assert_eq!(header.numbers["a.count"], 7);
        let [matrix, vector] = &header.tensors[..] else { panic!("two tensors") };
        assert_eq!((&matrix.shape[..], matrix.range.len()), (&[2, 64][..], 4 * 34));
        assert_eq!((&vector.shape[..], vector.range.len(), vector.range.end), (&[4][..], 16, file.len()));
    }

    #[test]
    fn a_file_cut_or_changed_anywhere_is_refused_or_read_and_nothing_else() {
        let whole = file();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        for at in 0..whole.len() - 176 {
            for flipped in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flipped;
                for tensor in read(&bytes).map(|header| header.tensors).unwrap_or_default() {
                    assert!(tensor.range.end <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn tensors_may_not_share_bytes_or_names() {
        let whole = file();
        let at = whole.windows(8).rposition(|window| window == 160u64.to_le_bytes()).expect("the offset");
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&32u64.to_le_bytes());
        assert!(read(&bytes).err().is_some_and(|e| e.contains("overlap")));
        let mut bytes = whole;
        let name = bytes.windows(9).rposition(|window| window == [&1u64.to_le_bytes()[..], b"v"].concat());
        bytes[name.expect("the name") + 8] = b'm';
        assert!(read(&bytes).err().is_some_and(|e| e.contains("twice")));
    }
}
