//! Names in a caller's JSON that no field has, at any depth.

use serde_json::{Map, Value};

use crate::field::{Field, Kind};

/// What a size in pixels is made of.
const SIDES: [&str; 2] = ["width", "height"];

/// Their paths, `loras.0.weight`, in the order in which they were written.
pub(super) fn unknown(fields: &[&Field], given: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    in_object(fields, "", given, &mut found);
    found
}

fn in_object(fields: &[&Field], place: &str, given: &Map<String, Value>, found: &mut Vec<String>) {
    for (name, value) in given {
        let path = format!("{place}{name}");
        match fields.iter().find(|field| field.name == *name) {
            Some(field) => in_value(&field.kind, &path, value, found),
            None => found.push(path),
        }
    }
}

fn in_value(kind: &Kind, path: &str, value: &Value, found: &mut Vec<String>) {
    match (kind, value) {
        (Kind::Object(shape), Value::Object(given)) => {
            let fields: Vec<&Field> = shape.fields.iter().collect();
            in_object(&fields, &format!("{path}."), given, found);
        }
        (Kind::List { item, .. }, Value::Array(values)) => {
            for (place, value) in values.iter().enumerate() {
                in_value(item, &format!("{path}.{place}"), value, found);
            }
        }
        (Kind::ImageSize { .. }, Value::Object(given)) => {
            let others = given.keys().filter(|name| !SIDES.contains(&name.as_str()));
            found.extend(others.map(|name| format!("{path}.{name}")));
        }
        _ => {}
    }
}
