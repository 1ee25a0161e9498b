//! What goes over WebSockets: inputs and outputs as MessagePack or JSON.
//!
//! MessagePack has two things that JSON lacks. Bytes in an input become a data URI, which is what inputs hold
//! elsewhere; pictures in an output travel as bytes, so that nobody has to fetch them.

use std::fmt;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use scumble_api::Count;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::{Map, Number, Value};

/// How deep an input may be nested; as deep as serde_json goes.
const DEPTH: usize = 128;

/// Reads one MessagePack value, all of it and nothing behind it.
pub(crate) fn from_msgpack(bytes: &[u8]) -> Result<Value, String> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(DEPTH);
    let read = Input(&Count::default()).deserialize(&mut deserializer);
    let value = read.map_err(|e| format!("not a MessagePack input: {e}"))?;
    match rest.len() {
        0 => Ok(value),
        more => Err(format!("not a MessagePack input: {more} bytes follow it")),
    }
}

/// Writes an output; `contents` are the bytes of its pictures, in their order.
pub(crate) fn to_msgpack(output: &Value, contents: &[Bytes]) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec_named(&Output { output, contents })
}

/// A JSON value out of whatever MessagePack holds; what is inside is counted, as in a body of JSON.
#[derive(Clone, Copy)]
struct Input<'a>(&'a Count);

impl<'de> DeserializeSeed<'de> for Input<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.one_more()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Input<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nil, a boolean, a number, a text, bytes, an array or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    /// JavaScript writes whole numbers beyond 32 bits as floats.
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if v.fract() == 0.0 && v.abs() <= EXACT {
            return Ok((v as i64).into());
        }
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_bytes<E>(self, v: &[u8]) -> Result<Value, E> {
        Ok(format!("data:application/octet-stream;base64,{}", STANDARD.encode(v)).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        // what a message says of its length is not believed: nothing is allocated in advance
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

/// An output whose pictures come with their bytes.
struct Output<'a> {
    output: &'a Value,
    contents: &'a [Bytes],
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.output.as_object().ok_or_else(|| S::Error::custom("an output is an object"))?;
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, value) in fields {
            match value {
                Value::Array(pictures) if name == "images" && pictures.len() == self.contents.len() => {
                    let each = pictures.iter().zip(self.contents).map(|(fields, content)| Picture { fields, content });
                    map.serialize_entry(name, &each.collect::<Vec<_>>())?;
                }
                other => map.serialize_entry(name, other)?,
            }
        }
        map.end()
    }
}

struct Picture<'a> {
    fields: &'a Value,
    content: &'a Bytes,
}

impl Serialize for Picture<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.fields.as_object().ok_or_else(|| S::Error::custom("a picture is an object"))?;
        let mut map = serializer.serialize_map(Some(fields.len() + 1))?;
        map.serialize_entry("content", &Raw(self.content))?;
        for (name, value) in fields {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Bytes as bytes, not as a list of numbers.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_written_is_read_back() {
        let value = json!({ "a": [null, true, -1, 1.5, u64::MAX, "é"], "b": {}, "seed": 4_294_967_296_u64 });
        assert_eq!(from_msgpack(&rmp_serde::to_vec(&value).expect("MessagePack")), Ok(value));
        let float = rmp_serde::to_vec(&4_294_967_296.0_f64).expect("MessagePack");
        assert_eq!(from_msgpack(&float), Ok(json!(4_294_967_296_u64)), "a whole number that came as a float");
    }

    #[test]
    fn pictures_carry_their_bytes() {
        let output = json!({ "images": [{ "url": "u", "width": 1 }], "seed": 7 });
        let bytes = to_msgpack(&output, &[Bytes::from_static(b"\xff\x00")]).expect("MessagePack");
        let read = from_msgpack(&bytes).expect("a value");
        let content = "data:application/octet-stream;base64,/wA=";
        assert_eq!(read, json!({ "images": [{ "content": content, "url": "u", "width": 1 }], "seed": 7 }));
    }

    #[test]
    fn nonsense_is_an_error() {
        let deep: Vec<u8> = std::iter::repeat_n(0x91, 100_000).collect();
        let nan: Vec<u8> = [&[0xcb][..], &f64::NAN.to_be_bytes()].concat();
        for bytes in [
            &b""[..],
            b"\xc1",
            b"\x81\xa1a",
            b"\x81\x01\x01",
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xd6\xff\x00\x00\x00\x00",
            b"\xc0\xc0",
            b"{\"prompt\": \"json\"}",
            &deep,
            &nan,
            // a list of a hundred thousand times nothing: one byte each, and thirty-two in memory
            &[&b"\xdd\x00\x01\x86\xa0"[..], &[0xc0; 100_000]].concat(),
        ] {
            assert!(from_msgpack(bytes).is_err(), "{:?}", &bytes[..bytes.len().min(8)]);
        }
    }
}
