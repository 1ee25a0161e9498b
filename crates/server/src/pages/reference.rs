//! The API reference of an endpoint: its fields, its output and the objects in them, for tables.

use scumble_api::{Endpoint, FLAGS_HELP, Field, FileShape, Kind, OutputShape, PRESETS};
use serde_json::{Value, json};

/// Everything that the reference's tables show.
pub(super) fn reference(endpoint: &Endpoint) -> Value {
    let types = endpoint.shapes().into_iter().map(|shape| json!({ "name": shape.name, "fields": rows(shape.fields) }));
    let mut types: Vec<Value> = types.collect();
    types.extend(own_types(endpoint));
    json!({
        "input": rows(endpoint.fields()),
        "input_name": endpoint.input.name,
        "output": output(endpoint.output),
        "types": types,
        "example_input": format!("{:#}", Value::Object(endpoint.full_example())),
        "example_output": format!("{:#}", example_output(endpoint)),
    })
}

fn rows(fields: &[Field]) -> Vec<Value> {
    fields.iter().map(row).collect()
}

fn row(field: &Field) -> Value {
    let range = match field.kind {
        Kind::Integer { min, max } => Some(format!("{min} to {max}")),
        Kind::Number { min, max } if min.is_finite() && max.is_finite() => Some(format!("{min} to {max}")),
        Kind::Seed => Some("0 to 2⁶⁴ − 1".to_owned()),
        Kind::List { max, .. } => Some(format!("at most {max} entries")),
        Kind::Hex { digits } => Some(format!("{digits} hexadecimal digits")),
        Kind::ImageSize { min, max, .. } => Some(format!("sides from {min} to {max}")),
        _ => None,
    };
    let words: Vec<&str> = match field.kind {
        Kind::Choice(words) => words.to_vec(),
        Kind::ImageSize { .. } => PRESETS.iter().map(|(name, ..)| *name).collect(),
        _ => Vec::new(),
    };
    json!({
        "name": field.name,
        "type": field.kind.type_name(),
        "required": field.is_required(),
        "help": field.help,
        "default": field.default().map(|default| default.to_string()),
        "range": range,
        "words": words,
    })
}

fn line(name: &str, kind: &str, help: &str) -> Value {
    json!({ "name": name, "type": kind, "required": false, "help": help, "words": [] })
}

fn output(shape: OutputShape) -> Vec<Value> {
    let file = match shape.file {
        FileShape::Image | FileShape::LongImage => "list<Image>",
        FileShape::File { .. } => "list<File>",
    };
    let optional = [
        (shape.timings, line("timings", "object", "Seconds by stage.")),
        (shape.seed, line("seed", "integer", "The seed that was used.")),
        (shape.flags, line("has_nsfw_concepts", "list<boolean>", FLAGS_HELP)),
        (shape.prompt, line("prompt", "string", "The prompt that was used.")),
    ];
    let there = optional.into_iter().filter(|(there, _)| *there).map(|(_, line)| line);
    std::iter::once(line("images", file, "The pictures.")).chain(there).collect()
}

/// The types that are no shapes of the input: sizes and files.
fn own_types(endpoint: &Endpoint) -> Vec<Value> {
    let mut types = Vec::new();
    if endpoint.fields().iter().any(|field| matches!(field.kind, Kind::ImageSize { .. })) {
        let side = |name: &str, help: &str| json!({ "name": name, "type": "integer", "required": false, "help": help, "default": "512", "words": [] });
        let fields = [side("width", "Columns, in pixels."), side("height", "Rows, in pixels.")];
        types.push(json!({ "name": "ImageSize", "fields": fields }));
    }
    let url = line("url", "string", "Where the picture is, or the picture itself as a data URI.");
    let content_type = line("content_type", "string", "Its MIME type.");
    let sides = [line("width", "integer", "Columns, in pixels."), line("height", "integer", "Rows, in pixels.")];
    let about = [line("file_name", "string", "Its name."), line("file_size", "integer", "Its size in bytes.")];
    let (name, fields): (&str, Vec<Value>) = match endpoint.output.file {
        FileShape::Image => ("Image", [url].into_iter().chain(sides).chain([content_type]).collect()),
        FileShape::LongImage => ("Image", [url, content_type].into_iter().chain(about).chain(sides).collect()),
        FileShape::File { .. } => ("File", [url, content_type].into_iter().chain(about).collect()),
    };
    types.push(json!({ "name": name, "fields": fields }));
    types
}

fn example_output(endpoint: &Endpoint) -> Value {
    let shape = endpoint.output;
    let name = format!("{}.{}", endpoint.file_stem(), endpoint.format.extension());
    let url = format!("https://…/files/b/…/{name}");
    let kind = endpoint.format.content_type();
    let file = match shape.file {
        FileShape::Image => json!({ "url": url, "width": 1024, "height": 768, "content_type": kind }),
        FileShape::LongImage => json!({
            "url": url, "content_type": kind, "file_name": name, "file_size": 812_345, "width": 1024, "height": 768,
        }),
        FileShape::File { .. } => {
            json!({ "url": url, "content_type": kind, "file_name": name, "file_size": 812_345 })
        }
    };
    let mut output = json!({ "images": [file] });
    for (there, name, value) in [
        (shape.timings, "timings", json!({ "denoise": 2.31 })),
        (shape.seed, "seed", json!(42)),
        (shape.flags, "has_nsfw_concepts", json!([false])),
        (shape.prompt, "prompt", endpoint.example().remove("prompt").unwrap_or_default()),
    ] {
        if there {
            output[name] = value;
        }
    }
    output
}
