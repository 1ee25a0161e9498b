//! JSON of callers, counted while it is read.
//!
//! A value in memory is many times as large as its text: `[],` is three bytes and becomes thirty-two. No endpoint has more
//! than some hundred fields, lists and all, so a body with thousands is refused before there is room for it.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{ErrorAnswer, Problem};

/// The most values that a body may hold: fields, entries of lists, and what is in them.
pub const VALUES_MAX: usize = 10_000;

/// Reads the body of a call; an empty one means `{}`.
///
/// # Errors
/// What is wrong with it: no JSON, or more values than any endpoint has fields.
pub fn read_json(body: &[u8]) -> Result<Value, ErrorAnswer> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    read_value(body).map_err(|unread| match unread {
        Unread::TooMany => {
            let problem = Problem::new(&[], "sequence_too_long", TOO_MANY).with("max_length", VALUES_MAX);
            ErrorAnswer::invalid(&[problem])
        }
        Unread::Broken(reason) => ErrorAnswer::bad_json(&reason),
    })
}

/// Reads one value, and nothing behind it.
///
/// # Errors
/// It is none, or holds too many others.
pub fn read_value(text: &[u8]) -> Result<Value, Unread> {
    let count = Count::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = Counted(&count).deserialize(&mut deserializer);
    read.and_then(|value| deserializer.end().map(|()| value)).map_err(|error| match count.is_beyond() {
        true => Unread::TooMany,
        false => Unread::Broken(error.to_string()),
    })
}

/// Why a text is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It holds more than [`VALUES_MAX`].
    TooMany,
    /// It is no JSON.
    Broken(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str(TOO_MANY),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

/// For people; the number is [`VALUES_MAX`].
const TOO_MANY: &str = "The body holds more than 10000 values; no endpoint has so many fields: send those that it has";

/// How many values were read.
#[derive(Debug, Default)]
pub struct Count(Cell<usize>);

impl Count {
    /// One value more.
    ///
    /// # Errors
    /// There are too many: reading ends here.
    pub fn one_more<E: de::Error>(&self) -> Result<(), E> {
        self.0.set(self.0.get() + 1);
        if self.is_beyond() { Err(E::custom(TOO_MANY)) } else { Ok(()) }
    }

    fn is_beyond(&self) -> bool {
        self.0.get() > VALUES_MAX
    }
}

#[derive(Clone, Copy)]
struct Counted<'a>(&'a Count);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.one_more()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a number, a text, a list or an object")
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

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_serde_json_reads_is_read_alike() {
        for text in [
            "{}",
            r#"{"a":[null,true,-1,1.5,18446744073709551615,"\u00e9"],"b":{"c":{}},"a2":1e3}"#,
            "[1]",
            "\"x\"",
            " 7 ",
        ] {
            assert_eq!(read_json(text.as_bytes()), Ok(serde_json::from_str(text).expect("JSON")), "{text}");
        }
        assert_eq!(read_json(b" \n"), Ok(json!({})));
        for broken in ["{", "{} {}", "{\"a\":1e999}", "\u{0}", &"[".repeat(200)] {
            let answer = read_json(broken.as_bytes()).expect_err(broken);
            assert_eq!((answer.status, &answer.body["detail"][0]["type"]), (422, &json!("json_invalid")), "{broken}");
        }
    }

    #[test]
    fn a_body_of_too_many_values_is_refused_before_it_is_read_to_its_end() {
        let list = |items: usize| format!("{{\"a\":[{}1]}}", "1,".repeat(items - 1));
        assert!(read_json(list(VALUES_MAX - 2).as_bytes()).is_ok());
        for many in [list(VALUES_MAX), "[".to_owned() + &"[],".repeat(VALUES_MAX) + "no JSON at all"] {
            let answer = read_json(many.as_bytes()).expect_err("too many");
            let problem = &answer.body["detail"][0];
            assert_eq!((answer.status, &problem["type"]), (422, &json!("sequence_too_long")));
            assert!(problem["msg"].as_str().is_some_and(|msg| msg.contains(&VALUES_MAX.to_string())), "{problem}");
        }
    }
}
