//! The table of contents of a zip archive whose entries are stored as they are, as `torch.save` writes it.
//!
//! Nothing is unpacked and nothing is written: an entry is a name and a range of the file's own bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::bytes::Look;

/// Names and places of all entries, which lie apart from each other.
type Entries = BTreeMap<String, Range<usize>>;

/// More than any model has tensors.
const MOST_ENTRIES: u64 = 1 << 14;
/// Bytes of a table of contents: that many entries need less.
const LONGEST_DIRECTORY: usize = 8 << 20;

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const LISTED: [u8; 4] = *b"PK\x01\x02";
pub(super) const LOCAL: [u8; 4] = *b"PK\x03\x04";
/// A field of 32 bits that says: look in the extra field for 64.
const ELSEWHERE: u64 = u32::MAX as u64;

/// Reads the table of contents.
///
/// # Errors
/// What is wrong with the archive, or what it has that torch never writes.
pub(super) fn entries<L: Look + ?Sized>(file: &L) -> Result<Entries, String> {
    let (count, directory) = directory(file)?;
    if file.length().saturating_sub(directory) > LONGEST_DIRECTORY {
        return Err("its table of contents is damaged".into());
    }
    let listing = file.look(directory..file.length()).ok_or("its table of contents is damaged")?;
    let mut entries = BTreeMap::new();
    let mut taken = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let (entry, next) = Listed::read(&listing, at)?;
        let local = entry.locate(file, directory)?;
        taken.push((local.start..local.data.end, entry.name));
        if entries.insert(entry.name.to_owned(), local.data).is_some() {
            return Err(format!("it holds {} twice", shown(entry.name)));
        }
        at = next;
    }
    taken.sort_by_key(|(range, _)| range.start);
    match taken.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
        Some(pair) => Err(format!("its entries {} and {} overlap", shown(pair[0].1), shown(pair[1].1))),
        None => Ok(entries),
    }
}

/// How many entries are listed, and from where on.
fn directory<L: Look + ?Sized>(file: &L) -> Result<(u64, usize), String> {
    let cut = || "it is cut short: its table of contents is missing".to_owned();
    // with the longest comment, and the locator before it
    let first = file.length().saturating_sub(20 + 22 + usize::from(u16::MAX));
    let tail = file.look(first..file.length()).ok_or_else(cut)?;
    let is_end = |at: &usize| {
        let comment = number(&tail, at + 20, 2).and_then(|length| usize::try_from(length).ok());
        has(&tail, *at, END) && comment.is_some_and(|length| at + 22 + length == tail.len())
    };
    let end = (0..tail.len().saturating_sub(21)).rev().find(is_end).ok_or_else(cut)?;
    let wide = end.checked_sub(20).filter(|at| has(&tail, *at, LOCATOR_64));
    let (count, start) = if let Some(locator) = wide {
        let record = place(&tail, locator + 8, 8).and_then(|at| file.look(at..at.checked_add(56)?));
        let record = record.filter(|record| has(record, 0, END_64)).ok_or_else(cut)?;
        (number(&record, 32, 8), place(&record, 48, 8))
    } else {
        (number(&tail, end + 10, 2), place(&tail, end + 16, 4))
    };
    let (count, start) = count.zip(start).ok_or_else(cut)?;
    if count > MOST_ENTRIES {
        return Err(format!("it has {count} entries; at most {MOST_ENTRIES} are read"));
    }
    Ok((count, start))
}

/// An entry in the table of contents.
struct Listed<'a> {
    name: &'a str,
    size: u64,
    /// Where its own header is.
    offset: u64,
}

/// An entry at its place.
struct Local {
    start: usize,
    data: Range<usize>,
}

impl<'a> Listed<'a> {
    /// The entry that is listed at a place, and where the next one is.
    fn read(bytes: &'a [u8], at: usize) -> Result<(Self, usize), String> {
        let damaged = || "its table of contents is damaged".to_owned();
        let field = |offset: usize, length: usize| number(bytes, at + offset, length).ok_or_else(damaged);
        if !has(bytes, at, LISTED) {
            return Err(damaged());
        }
        let lengths = [field(28, 2)?, field(30, 2)?, field(32, 2)?].map(|length| length as usize);
        let name = bytes.get(at + 46..at + 46 + lengths[0]).ok_or_else(damaged)?;
        let name = std::str::from_utf8(name).map_err(|_| "it has an entry whose name is not UTF-8".to_owned())?;
        let extra = bytes.get(at + 46 + lengths[0]..at + 46 + lengths[0] + lengths[1]).ok_or_else(damaged)?;
        let (flags, method) = (field(8, 2)?, field(10, 2)?);
        if flags & 1 != 0 {
            return Err(format!("its entry {} is encrypted", shown(name)));
        }
        // in this order the extra field has what is elsewhere
        let mut wide = wide_fields(extra);
        let mut whole = |value: u64| if value == ELSEWHERE { wide.next().ok_or_else(damaged) } else { Ok(value) };
        let (size, packed, offset) = (whole(field(24, 4)?)?, whole(field(20, 4)?)?, whole(field(42, 4)?)?);
        if method != 0 || size != packed {
            return Err(format!("its entry {} is compressed, which torch never does", shown(name)));
        }
        Ok((Self { name, size, offset }, at + 46 + lengths.iter().sum::<usize>()))
    }

    /// Finds the entry itself, which must end before the table of contents begins.
    fn locate<L: Look + ?Sized>(&self, file: &L, directory: usize) -> Result<Local, String> {
        let find = || {
            let start = usize::try_from(self.offset).ok()?;
            let header = file.look(start..start.checked_add(30)?).filter(|header| has(header, 0, LOCAL))?;
            let (name, extra) = (place(&header, 26, 2)?, place(&header, 28, 2)?);
            let named = *file.look(start + 30..start + 30 + name)? == *self.name.as_bytes();
            let data = start + 30 + name + extra;
            let end = data.checked_add(usize::try_from(self.size).ok()?)?;
            (named && end <= directory).then_some(Local { start, data: data..end })
        };
        find().ok_or_else(|| format!("its entry {} is not where it should be", shown(self.name)))
    }
}

/// The 64-bit numbers of an extra field.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let (Some(id), Some(length)) = (number(extra, 0, 2), place(extra, 2, 2)) {
        let Some(body) = extra.get(4..4 + length) else { break };
        if id == 1 {
            found = body;
            break;
        }
        extra = &extra[4 + length..];
    }
    found.chunks_exact(8).map(|chunk| chunk.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The same where it is a place in the file, or a distance.
fn place(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    number(bytes, at, length).and_then(|value| usize::try_from(value).ok())
}

fn has(bytes: &[u8], at: usize, mark: [u8; 4]) -> bool {
    at.checked_add(4).and_then(|end| bytes.get(at..end)) == Some(&mark)
}

/// A stranger's text in a message.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.escape_debug().take(100).collect();
    format!("\"{short}\"")
}
