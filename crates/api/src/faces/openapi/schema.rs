//! JSON schemas of inputs and outputs, as fal publishes them (protocol 10.3).

use serde_json::{Map, Value, json};

use super::{Edition, reference};
use crate::endpoint::Endpoint;
use crate::field::{Field, Kind, Shape};
use crate::image_size::{DEFAULT_SIDE, PRESETS};
use crate::output::{FLAGS_HELP, FileShape, OutputShape};
use crate::validate::TEXT_MAX;

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

/// Every schema that an endpoint's document refers to, by name.
pub(super) fn components(endpoint: &Endpoint, edition: Edition) -> Map<String, Value> {
    let mut schemas = Map::new();
    let fields = |shape: &Shape, name: &str, examples: &Map<String, Value>| fields(shape, name, examples, edition);
    if endpoint.fields().iter().any(|f| matches!(f.kind, Kind::ImageSize { .. })) {
        schemas.insert("ImageSize".into(), image_size());
    }
    for shape in endpoint.shapes() {
        schemas.insert(shape.name.into(), fields(shape, shape.name, &Map::new()));
    }
    let (name, file) = file(endpoint.output.file);
    schemas.insert(name.into(), file);
    let mut input = fields(&endpoint.input, &input_name(endpoint), &endpoint.example());
    // programs for open models say -1 where they want any seed
    if endpoint.family.maker().is_none()
        && let Some(seed) = input["properties"].get_mut("seed")
    {
        seed["minimum"] = (-1).into();
        seed["description"] =
            format!("{} -1 is a random one.", seed["description"].as_str().unwrap_or_default()).into();
    }
    schemas.insert(input_name(endpoint), input);
    schemas.insert(output_name(endpoint), output(endpoint.output, &output_name(endpoint)));
    schemas
}

/// `FalAiFluxDevInput`.
pub(super) fn input_name(endpoint: &Endpoint) -> String {
    pascal(endpoint.id) + "Input"
}

/// `FalAiFluxDevOutput`.
pub(super) fn output_name(endpoint: &Endpoint) -> String {
    pascal(endpoint.id) + "Output"
}

/// An object of fields.
fn fields(shape: &Shape, name: &str, examples: &Map<String, Value>, edition: Edition) -> Value {
    let described = shape.fields.iter().map(|f| (f.name.to_owned(), property(f, examples.get(f.name), edition)));
    let required = shape.fields.iter().filter(|f| f.is_required()).map(|f| f.name);
    object(name, described.collect(), &required.collect::<Vec<_>>())
}

/// What an endpoint answers.
fn output(shape: OutputShape, name: &str) -> Value {
    let images = json!({
        "type": "array", "title": "Images", "description": "The pictures.", "items": reference(file(shape.file).0),
    });
    let timings = json!({
        "type": "object", "title": "Timings", "description": "Seconds by stage.",
        "additionalProperties": { "type": "number" },
    });
    let seed = json!({ "type": "integer", "title": "Seed", "description": "The seed that was used." });
    let flags = json!({
        "type": "array", "title": "Has Nsfw Concepts",
        "description": FLAGS_HELP,
        "items": { "type": "boolean" },
    });
    let prompt = json!({ "type": "string", "title": "Prompt", "description": "The prompt that was used." });
    let known = [
        ("images", true, images),
        ("timings", shape.timings, timings),
        ("seed", shape.seed, seed),
        ("has_nsfw_concepts", shape.flags, flags),
        ("prompt", shape.prompt, prompt),
    ];
    let there = known.iter().filter(|(_, there, _)| *there);
    let names: Vec<&str> = there.clone().map(|(name, ..)| *name).collect();
    object(name, there.map(|(name, _, schema)| ((*name).to_owned(), schema.clone())).collect(), &names)
}

/// The name and the schema of what stands in `images`.
fn file(shape: FileShape) -> (&'static str, Value) {
    let text = |name: &str| (name.to_owned(), json!({ "type": "string", "title": title(name) }));
    let whole = |name: &str| (name.to_owned(), json!({ "type": "integer", "title": title(name) }));
    let url = ("url".to_owned(), json!({ "type": "string", "title": "Url", "description": "Where the file is." }));
    let about = || [text("content_type"), text("file_name"), whole("file_size")];
    match shape {
        FileShape::Image => {
            let (name, mut content_type) = text("content_type");
            content_type["default"] = "image/jpeg".into();
            let properties = [url, whole("width"), whole("height"), (name, content_type)];
            ("Image", object("Image", properties.into_iter().collect(), &["url", "width", "height"]))
        }
        FileShape::LongImage => {
            let more = [text("file_data"), whole("width"), whole("height")];
            ("Image", object("Image", [url].into_iter().chain(about()).chain(more).collect(), &["url"]))
        }
        FileShape::File { with_data } => {
            let data = with_data.then(|| text("file_data"));
            ("File", object("File", [url].into_iter().chain(about()).chain(data).collect(), &["url"]))
        }
    }
}

/// A size in pixels.
fn image_size() -> Value {
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

fn property(field: &Field, example: Option<&Value>, edition: Edition) -> Value {
    let mut schema = kind(&field.kind);
    // in 3.0 nothing may stand beside a reference
    if let Some(reference) = schema.as_object_mut().and_then(|s| s.remove("$ref")) {
        schema = json!({ "allOf": [{ "$ref": reference }] });
    }
    schema["title"] = title(field.name).into();
    schema["description"] = field.help.into();
    match field.default() {
        // makers of clients cannot write an object as a default, and leave out the whole call instead
        Some(Value::Object(size)) => {
            schema["description"] = format!("{} Default: {} × {}.", field.help, size["width"], size["height"]).into();
        }
        Some(default) => schema["default"] = default,
        None => {}
    }
    if let Some(example) = example.filter(|example| Some(*example) != schema.get("default")) {
        edition.exemplify(&mut schema, example);
    }
    schema
}

fn kind(kind: &Kind) -> Value {
    match *kind {
        // what is counted are bytes, of which a text has no fewer than characters
        Kind::Text => json!({ "type": "string", "maxLength": TEXT_MAX }),
        Kind::Image | Kind::Mask { .. } | Kind::Weights { .. } => json!({ "type": "string" }),
        Kind::Hex { digits } => json!({ "type": "string", "pattern": format!("^[0-9A-Fa-f]{{{digits}}}$") }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Seed => json!({ "type": "integer", "minimum": 0 }),
        Kind::Number { min, max } => {
            let mut schema = json!({ "type": "number" });
            for (name, limit) in [("minimum", min), ("maximum", max)].into_iter().filter(|(_, n)| n.is_finite()) {
                schema[name] = limit.into();
            }
            schema
        }
        Kind::Choice(words) => json!({ "type": "string", "enum": words }),
        Kind::List { item, max } => json!({ "type": "array", "items": self::kind(item), "maxItems": max }),
        Kind::Object(shape) => reference(shape.name),
        Kind::ImageSize { .. } => {
            let presets: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
            json!({ "anyOf": [reference("ImageSize"), { "type": "string", "enum": presets }] })
        }
    }
}
