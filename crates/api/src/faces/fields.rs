//! The fields of an endpoint's input as data, for scripts.

use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::field::{Field, Kind};
use crate::image_size::PRESETS;

/// What an endpoint takes: its `fields` in page order, and by name the `objects` that occur in them.
pub fn fields_of(endpoint: &Endpoint) -> Value {
    let list = |fields: &[Field]| -> Value { fields.iter().map(field).collect() };
    let objects: Map<String, Value> =
        endpoint.shapes().into_iter().map(|shape| (shape.name.to_owned(), list(shape.fields))).collect();
    json!({ "fields": list(endpoint.fields()), "objects": objects })
}

fn field(field: &Field) -> Value {
    let mut told = json!({ "name": field.name, "type": field.kind.type_name(), "required": field.is_required() });
    let limits = match field.kind {
        Kind::Integer { min, max } => json!({ "minimum": min, "maximum": max }),
        Kind::Number { min, max } if min.is_finite() && max.is_finite() => json!({ "minimum": min, "maximum": max }),
        Kind::Choice(words) => json!({ "choices": words }),
        Kind::ImageSize { .. } => json!({ "choices": PRESETS.iter().map(|(name, ..)| *name).collect::<Vec<_>>() }),
        Kind::List { max, .. } => json!({ "max_items": max }),
        _ => json!({}),
    };
    if let (Value::Object(told), Value::Object(limits)) = (&mut told, limits) {
        told.extend(field.default().map(|default| ("default".to_owned(), default)));
        told.extend(limits);
        told.insert("help".to_owned(), field.help.into());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ENDPOINTS;

    #[test]
    fn every_field_is_told_with_what_it_may_hold() {
        for endpoint in ENDPOINTS {
            let told = fields_of(endpoint);
            let names: Vec<&str> = endpoint.fields().iter().map(|field| field.name).collect();
            let found = told["fields"].as_array().expect("a list").iter().map(|field| field["name"].as_str());
            assert_eq!(found.map(Option::unwrap_or_default).collect::<Vec<_>>(), names, "{}", endpoint.id);
            for field in told["fields"].as_array().expect("a list") {
                let kind = field["type"].as_str().expect("a type").trim_start_matches("list<").trim_end_matches('>');
                let is_object = kind.starts_with(char::is_uppercase) && !kind.starts_with("ImageSize");
                assert_eq!(told["objects"].get(kind).is_some(), is_object, "{}: {field}", endpoint.id);
            }
        }
        let schnell = fields_of(crate::find("fal-ai/flux/schnell").expect("an endpoint"));
        let steps = schnell["fields"].as_array().expect("a list").iter().find(|f| f["name"] == "num_inference_steps");
        let steps = steps.expect("steps");
        assert_eq!((&steps["default"], &steps["minimum"], &steps["required"]), (&json!(4), &json!(1), &json!(false)));
    }
}
