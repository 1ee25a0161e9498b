//! The head of a safetensors file, read as it comes: whatever stands in it, only one number of it is kept.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// So much of a file is read at once.
const PIECE: usize = 64 * 1024;

/// Where the last of the tensors ends that this head names, in bytes behind it; `None` where it cannot be read.
pub(super) fn end_of_tensors(head: impl Read) -> Option<u64> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(PIECE, head));
    Furthest { offsets: true }.deserialize(&mut json).ok()
}

/// The largest number that means an end: of one tensor's entry, or of a map of such entries.
#[derive(Clone, Copy)]
struct Furthest {
    /// Whether values are entries, in which `data_offsets` counts; else the values are what counts in an entry.
    offsets: bool,
}

impl<'de> DeserializeSeed<'de> for Furthest {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<u64, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Furthest {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut furthest = 0;
        while let Some(IsOffsets(is_offsets)) = map.next_key()? {
            let end = match (self.offsets, is_offsets) {
                (true, _) => map.next_value_seed(Self { offsets: false })?,
                (false, true) => map.next_value::<(u64, u64)>()?.1,
                (false, false) => {
                    map.next_value::<IgnoredAny>()?;
                    0
                }
            };
            furthest = furthest.max(end);
        }
        Ok(furthest)
    }

    // what is no entry says nothing of an end
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(0)
    }

    fn visit_str<E>(self, _: &str) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_bool<E>(self, _: bool) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_u64<E>(self, _: u64) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_i64<E>(self, _: i64) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_f64<E>(self, _: f64) -> Result<u64, E> {
        Ok(0)
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(0)
    }
}

/// Whether a key is `data_offsets`.
struct IsOffsets(bool);

impl<'de> Deserialize<'de> for IsOffsets {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = IsOffsets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, key: &str) -> Result<IsOffsets, E> {
                Ok(IsOffsets(key == "data_offsets"))
            }
        }
        json.deserialize_str(Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_end_is_found_whatever_stands_around_it() {
        for (head, end) in [
            (r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"data_offsets":[4,9]}}"#, Some(9)),
            (r#"{"__metadata__":{"x":"y","data":"[0,99]"},"a":{"data_offsets":[0,4]}}  "#, Some(4)),
            (r#"{"a":[1,{"data_offsets":[0,99]}],"b":null,"c":-1.5,"d":"x","e":true}"#, Some(0)),
            ("{}", Some(0)),
            (r#"{"a":{"data_offsets":[0]}}"#, None),
            (r#"{"a":{"data_offsets":[-4,4]}}"#, None),
            (r#"{"a":"#, None),
        ] {
            assert_eq!(end_of_tensors(head.as_bytes()), end, "{head}");
        }
    }

    /// `open`, 24 MB of `middle` again and again, `close`.
    fn head(open: &'static str, middle: &'static str, close: &'static str) -> impl Read {
        let bytes = 24_000_000 / middle.len() * middle.len();
        let middle = Again { text: middle.as_bytes(), at: 0 };
        open.as_bytes().chain(middle.take(bytes as u64)).chain(close.as_bytes())
    }

    struct Again {
        text: &'static [u8],
        at: usize,
    }

    impl Read for Again {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            for byte in into.iter_mut() {
                *byte = self.text[self.at % self.text.len()];
                self.at += 1;
            }
            Ok(into.len())
        }
    }

    /// The most memory that this process has had, in KiB.
    fn peak() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }

    #[test]
    fn a_head_of_many_megabytes_costs_little() {
        let before = peak();
        for (open, middle, close, expected) in [
            (r#"{"x":[[0]"#, ",[0]", "]}", Some(0)),
            (r#"{"x":{"data_offsets":[0,7]}"#, r#","x":{"data_offsets":[0,9]}"#, "}", Some(9)),
            (r#"{"x":["#, "[", "", None),
            (r#"{""#, "x", r#"":1}"#, Some(0)),
        ] {
            assert_eq!(end_of_tensors(head(open, middle, close)), expected, "{open}");
        }
        // 2.6 GB, where all of it is kept
        assert!(peak() - before < 400 * 1024, "{} KiB more", peak() - before);
    }
}
