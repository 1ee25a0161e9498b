//! JSON schemas of inputs and outputs, as fal publishes them (protocol 10.3).

use serde_json::{Map, Value, json};

use crate::endpoint::{Endpoint, Field, Fill, Kind};
use crate::image_size::{DEFAULT_SIDE, PRESETS};

/// `fal-ai/flux/dev` as the first part of schema names: `FalAiFluxDev`.
pub(super) fn pascal(id: &str) -> String {
    let words = id.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty());
    words.map(|w| w[..1].to_ascii_uppercase() + &w[1..]).collect()
}

/// `num_inference_steps` for people: `Num Inference Steps`.
fn title(name: &str) -> String {
    let words = name.split('_').filter(|w| !w.is_empty());
    words.map(|w| w[..1].to_ascii_uppercase() + &w[1..]).collect::<Vec<_>>().join(" ")
}

/// The schema of an endpoint's input.
pub(super) fn input(endpoint: &Endpoint) -> Value {
    let properties: Map<String, Value> =
        endpoint.fields.iter().map(|f| (f.name.to_owned(), property(f, endpoint))).collect();
    let required = endpoint.fields.iter().filter(|f| matches!(f.fill, Fill::Required)).map(|f| f.name);
    object(&format!("{}Input", pascal(endpoint.id)), properties, &required.collect::<Vec<_>>())
}

/// The schema of an endpoint's output.
pub(super) fn output(endpoint: &Endpoint) -> Value {
    let images = json!({
        "type": "array", "title": "Images", "description": "The generated images.",
        "items": { "$ref": "#/components/schemas/Image" },
    });
    let timings = json!({
        "type": "object", "title": "Timings", "description": "Seconds by stage.",
        "additionalProperties": { "type": "number" },
    });
    let seed = json!({ "type": "integer", "title": "Seed", "description": "The seed that was used." });
    let flags = json!({
        "type": "array", "title": "Has Nsfw Concepts", "description": "Whether an image shows what it should not.",
        "items": { "type": "boolean" },
    });
    let prompt = json!({ "type": "string", "title": "Prompt", "description": "The prompt that was used." });
    let fields =
        [("images", images), ("timings", timings), ("seed", seed), ("has_nsfw_concepts", flags), ("prompt", prompt)];
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties = fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    object(&format!("{}Output", pascal(endpoint.id)), properties, &names)
}

/// An image of an output.
pub(super) fn image() -> Value {
    let side = |name: &str| json!({ "type": "integer", "title": title(name) });
    let properties = [
        ("url", json!({ "type": "string", "title": "Url" })),
        ("width", side("width")),
        ("height", side("height")),
        ("content_type", json!({ "type": "string", "title": "Content Type", "default": "image/jpeg" })),
    ];
    let properties = properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    object("Image", properties, &["url", "width", "height"])
}

/// A size in pixels.
pub(super) fn image_size() -> Value {
    let side = |name: &str| json!({ "type": "integer", "title": title(name), "minimum": 1, "maximum": 14142, "default": DEFAULT_SIDE });
    let properties = ["width", "height"].map(|name| (name.to_owned(), side(name))).into_iter().collect();
    object("ImageSize", properties, &[])
}

/// `x-fal-order-properties` is the order of forms and documents: JSON objects have none.
fn object(title: &str, properties: Map<String, Value>, required: &[&str]) -> Value {
    let order: Vec<&String> = properties.keys().collect();
    let mut schema = json!({ "title": title, "type": "object", "x-fal-order-properties": order });
    schema["properties"] = Value::Object(properties);
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(field: &Field, endpoint: &Endpoint) -> Value {
    let mut schema = kind(&field.kind);
    schema["title"] = title(field.name).into();
    schema["description"] = field.help.into();
    if let Some(default) = default(field.fill) {
        schema["default"] = default;
    }
    if field.name == "prompt" {
        schema["examples"] = json!([endpoint.example]);
    }
    schema
}

fn kind(kind: &Kind) -> Value {
    match *kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Seed => json!({ "type": "integer", "minimum": 0 }),
        Kind::Number { min, max } => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::ImageSize { .. } => {
            let presets: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
            json!({ "anyOf": [{ "$ref": "#/components/schemas/ImageSize" }, { "type": "string", "enum": presets }] })
        }
    }
}

/// The default as it stands in documents, `false` and `0` too.
pub(super) fn default(fill: Fill) -> Option<Value> {
    match fill {
        Fill::Required | Fill::Nothing => None,
        Fill::Text(text) => Some(text.into()),
        Fill::Integer(n) => Some(n.into()),
        Fill::Number(n) => Some(n.into()),
        Fill::Boolean(b) => Some(b.into()),
        Fill::Size(width, height) => Some(json!({ "width": width, "height": height })),
    }
}
