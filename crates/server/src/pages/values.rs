//! What a form sends, as an endpoint's input: names are paths, `loras.0.scale`.

use std::collections::{BTreeMap, BTreeSet};

use scumble_api::{Endpoint, Field, Fill, Kind, Shape, VALUES_MAX};
use serde_json::{Map, Number, Value, json};

/// What a browser sends without scripts, by name; of several the last.
pub(super) type Pairs = BTreeMap<String, String>;

/// Reads a form. No page sends as many fields as are read at most; what comes after them was not typed into one.
pub(super) fn pairs(body: &[u8]) -> Pairs {
    form_urlencoded::parse(body).into_owned().take(VALUES_MAX).collect()
}

/// The input that a form holds. Nothing is judged here: what cannot be read stays text, for validation to refuse.
pub(super) fn input(endpoint: &Endpoint, pairs: &Pairs) -> Map<String, Value> {
    fields(endpoint.fields(), "", pairs)
}

/// Whether a shape is a colour, for which browsers have a control.
pub(super) fn is_color(shape: &Shape) -> bool {
    shape.fields.len() == 3 && shape.fields.iter().zip(["r", "g", "b"]).all(|(field, name)| field.name == name)
}

fn fields(fields: &[Field], under: &str, pairs: &Pairs) -> Map<String, Value> {
    let value = |field: &Field| {
        let path = format!("{under}{}", field.name);
        let needed = field.is_required();
        Some((field.name.to_owned(), value(&field.kind, &path, needed, field.fill, pairs)?))
    };
    fields.iter().filter_map(value).collect()
}

fn value(kind: &Kind, path: &str, needed: bool, fill: Fill, pairs: &Pairs) -> Option<Value> {
    let text = pairs.get(path).map(String::as_str);
    let filled = text.filter(|text| !text.is_empty());
    match kind {
        Kind::Text => {
            // an empty text says something only where it takes a default's place
            let says = filled.is_some() || matches!(fill, Fill::Text(default) if !default.is_empty());
            text.filter(|_| says).map(|text| text.replace("\r\n", "\n").into())
        }
        Kind::Choice(_) | Kind::Image | Kind::Mask { .. } | Kind::Weights { .. } | Kind::Hex { .. } => {
            filled.map(Value::from)
        }
        Kind::Integer { .. } | Kind::Number { .. } | Kind::Seed => filled.map(number),
        // a box that is not ticked is not sent
        Kind::Boolean => Some(text.is_some().into()),
        Kind::ImageSize { .. } => match filled? {
            "custom" => {
                let side = |name: &str| pairs.get(&format!("{path}.{name}")).filter(|t| !t.is_empty());
                let sides = ["width", "height"].into_iter();
                Some(sides.filter_map(|name| Some((name.to_owned(), number(side(name)?)))).collect())
            }
            preset => Some(preset.into()),
        },
        Kind::List { item, .. } => {
            let items = places(path, pairs).into_iter();
            let items = items.filter_map(|n| value(item, &format!("{path}.{n}"), true, Fill::Required, pairs));
            Some(items.collect::<Vec<_>>()).filter(|items| !items.is_empty()).map(Value::Array)
        }
        Kind::Object(shape) if is_color(shape) => filled.map(color),
        Kind::Object(shape) => {
            let given = needed || text.is_some();
            given.then(|| Value::Object(fields(shape.fields, &format!("{path}."), pairs)))
        }
    }
}

/// The numbers behind a list's name, in order.
fn places(path: &str, pairs: &Pairs) -> BTreeSet<u32> {
    let place = |name: &String| name.strip_prefix(path)?.strip_prefix('.')?.split('.').next()?.parse().ok();
    pairs.keys().filter_map(place).collect()
}

fn number(text: &str) -> Value {
    serde_json::from_str::<Number>(text.trim()).map_or_else(|_| text.into(), Value::Number)
}

/// `#rrggbb` as its channels.
fn color(text: &str) -> Value {
    let channel = |at: usize| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    match (text.starts_with('#'), channel(1), channel(3), channel(5)) {
        (true, Some(r), Some(g), Some(b)) => json!({ "r": r, "g": g, "b": b }),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: &str, form: &[(&str, &str)]) -> Value {
        let pairs = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Value::Object(input(scumble_api::find(id).expect("an endpoint"), &pairs))
    }

    #[test]
    fn a_form_becomes_an_input() {
        let form = [
            ("prompt", "a\r\nb"),
            ("image_size", "custom"),
            ("image_size.width", "128"),
            ("image_size.height", "64"),
            ("seed", "18446744073709551615"),
            ("num_inference_steps", "x"),
            ("guidance_scale", "2.5"),
            ("sync_mode", "true"),
            ("output_format", ""),
        ];
        let expected = json!({
            "prompt": "a\nb", "image_size": { "width": 128, "height": 64 }, "num_inference_steps": "x",
            "seed": 18_446_744_073_709_551_615_u64, "guidance_scale": 2.5, "sync_mode": true,
        });
        assert_eq!(read("scumble/starter", &form), expected);
        assert_eq!(read("scumble/starter", &[]), json!({ "sync_mode": false }));
    }

    #[test]
    fn lists_and_objects_nest() {
        let form = [
            ("prompt", ""),
            ("loras.0.path", "a/b"),
            ("loras.7.path", "c/d"),
            ("loras.7.scale", "0.5"),
            ("controlnet.path", "not ticked"),
        ];
        let read_form = read("fal-ai/stable-diffusion-v35-large", &form);
        assert_eq!(read_form["loras"], json!([{ "path": "a/b" }, { "path": "c/d", "scale": 0.5 }]));
        assert_eq!((read_form.get("prompt"), read_form.get("controlnet")), (None, None));
        let form = [("color_palette", "on"), ("color_palette.members.0.rgb", "#ff8000"), ("style_codes.0", "12345678")];
        let read_form = read("fal-ai/ideogram/v3", &form);
        assert_eq!(read_form["color_palette"], json!({ "members": [{ "rgb": { "r": 255, "g": 128, "b": 0 } }] }));
        assert_eq!(read_form["style_codes"], json!(["12345678"]));
    }
}
