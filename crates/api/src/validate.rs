//! A caller's JSON against an endpoint's fields, with pydantic's leniency and pydantic's words, which fal's users know.

use serde_json::{Map, Value, json};

use crate::endpoint::{Endpoint, Field, Fill, Kind, Scope};
use crate::error::Problem;
use crate::image_size::{DEFAULT_SIDE, ImageSize, PRESETS};
use crate::input::Input;

/// What the owner's own command line may set on every text-to-image endpoint.
const LOCAL_FIELDS: &[Field] = &[
    Field {
        name: "image_size",
        kind: Kind::ImageSize { min: 16, max: 14142, area: 16_777_216 },
        fill: Fill::Nothing,
        help: "The size of the generated image.",
    },
    Field {
        name: "max_sequence_length",
        kind: Kind::Integer { min: 1, max: 512 },
        fill: Fill::Nothing,
        help: "Text tokens that the T5 encoder reads.",
    },
];
/// The most steps that a local run may take.
const LOCAL_STEPS: i64 = 1000;

pub(crate) fn parse(endpoint: &'static Endpoint, body: &Value, scope: Scope) -> Result<Input, Vec<Problem>> {
    let empty = Map::new();
    let given = match body {
        Value::Object(given) => given,
        Value::Null => &empty,
        other => {
            let msg = "Input should be a valid dictionary or object to extract fields from";
            return Err(vec![Problem::new(&[], "model_attributes_type", msg).given(other)]);
        }
    };
    let (mut values, mut problems) = (Map::new(), Vec::new());
    let fields = fields(endpoint, scope);
    for field in &fields {
        match given.get(field.name).filter(|v| !v.is_null() || matches!(field.fill, Fill::Required)) {
            Some(value) => match check(&limits(field, scope), field.name, value) {
                Ok(value) => drop(values.insert(field.name.into(), value)),
                Err(found) => problems.extend(found),
            },
            None => match fill(field.fill) {
                Ok(Some(value)) => drop(values.insert(field.name.into(), value)),
                Ok(None) => {}
                Err(()) => problems.push(Problem::new(&[field.name], "missing", "Field required").given(body)),
            },
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let known = |name: &String| fields.iter().any(|f| f.name == name);
    let ignored = given.keys().filter(|name| !known(name)).cloned().collect();
    Ok(Input::checked(endpoint, values, ignored))
}

fn fields(endpoint: &'static Endpoint, scope: Scope) -> Vec<&'static Field> {
    let local = LOCAL_FIELDS.iter().filter(|f| scope == Scope::Local && endpoint.field(f.name).is_none());
    endpoint.fields.iter().chain(local).collect()
}

/// A field's kind, with the page's upper bound on steps lifted for the owner's own runs.
fn limits(field: &Field, scope: Scope) -> Kind {
    match (field.name, field.kind, scope) {
        ("num_inference_steps", Kind::Integer { min, .. }, Scope::Local) => Kind::Integer { min, max: LOCAL_STEPS },
        (_, kind, _) => kind,
    }
}

fn fill(fill: Fill) -> Result<Option<Value>, ()> {
    match fill {
        Fill::Required => Err(()),
        Fill::Nothing => Ok(None),
        Fill::Text(text) => Ok(Some(text.into())),
        Fill::Integer(n) => Ok(Some(n.into())),
        Fill::Number(n) => Ok(Some(n.into())),
        Fill::Boolean(b) => Ok(Some(b.into())),
        Fill::Size(width, height) => Ok(Some(json!({ "width": width, "height": height }))),
    }
}

/// The value in its own type, or what is wrong with it.
fn check(kind: &Kind, name: &str, value: &Value) -> Result<Value, Vec<Problem>> {
    let one = |problem: Problem| vec![problem.given(value)];
    match *kind {
        Kind::Text => match value {
            Value::String(_) => Ok(value.clone()),
            _ => Err(one(Problem::new(&[name], "string_type", "Input should be a valid string"))),
        },
        Kind::Boolean => boolean(name, value).map_err(one),
        Kind::Integer { min, max } => integer(&[name], value, min.into(), max.into()).map_err(one),
        Kind::Seed => integer(&[name], value, 0, u64::MAX.into()).map_err(one),
        Kind::Number { min, max } => number(name, value, min, max).map_err(one),
        Kind::Choice(words) => choice(name, value, words).map_err(one),
        Kind::ImageSize { min, max, area } => image_size(name, value, (min, max, area)),
    }
}

fn boolean(name: &str, value: &Value) -> Result<Value, Problem> {
    let parsed = match value {
        Value::Bool(b) => Some(*b),
        Value::Number(n) if n.as_f64() == Some(0.0) => Some(false),
        Value::Number(n) if n.as_f64() == Some(1.0) => Some(true),
        Value::String(s) => match s.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    parsed.map(Value::from).ok_or_else(|| match value {
        Value::String(_) | Value::Number(_) => {
            Problem::new(&[name], "bool_parsing", "Input should be a valid boolean, unable to interpret input")
        }
        _ => Problem::new(&[name], "bool_type", "Input should be a valid boolean"),
    })
}

fn integer(path: &[&str], value: &Value, min: i128, max: i128) -> Result<Value, Problem> {
    let n = whole(path, value)?;
    if n < min {
        let limit = number_of(min);
        let msg = format!("Input should be greater than or equal to {limit}");
        return Err(Problem::new(path, "greater_than_equal", msg).with("ge", limit));
    }
    if n > max {
        let limit = number_of(max);
        return Err(Problem::new(path, "less_than_equal", format!("Input should be less than or equal to {limit}"))
            .with("le", limit));
    }
    Ok(number_of(n))
}

/// Whole numbers, whole floats and their texts, as pydantic reads them.
fn whole(path: &[&str], value: &Value) -> Result<i128, Problem> {
    match value {
        Value::Number(n) => {
            if let Some(n) = n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from)) {
                return Ok(n);
            }
            let float = n.as_f64().unwrap_or(f64::NAN);
            if float.fract() == 0.0 && float.abs() < 1e18 {
                return Ok(float as i128);
            }
            let msg = "Input should be a valid integer, got a number with a fractional part";
            Err(Problem::new(path, "int_from_float", msg))
        }
        Value::String(s) => s.trim().parse().map_err(|_| {
            let msg = "Input should be a valid integer, unable to parse string as an integer";
            Problem::new(path, "int_parsing", msg)
        }),
        _ => Err(Problem::new(path, "int_type", "Input should be a valid integer")),
    }
}

/// A JSON number for anything between the least i64 and the greatest u64; validated values never lie outside.
fn number_of(n: i128) -> Value {
    i64::try_from(n).map(Value::from).or_else(|_| u64::try_from(n).map(Value::from)).unwrap_or(Value::Null)
}

fn number(name: &str, value: &Value, min: f64, max: f64) -> Result<Value, Problem> {
    let parsed = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse::<f64>().ok(),
        _ => return Err(Problem::new(&[name], "float_type", "Input should be a valid number")),
    };
    let n = parsed.filter(|n| n.is_finite()).ok_or_else(|| {
        Problem::new(&[name], "float_parsing", "Input should be a valid number, unable to parse string as a number")
    })?;
    if n < min {
        let msg = format!("Input should be greater than or equal to {min}");
        return Err(Problem::new(&[name], "greater_than_equal", msg).with("ge", min));
    }
    if n > max {
        let msg = format!("Input should be less than or equal to {max}");
        return Err(Problem::new(&[name], "less_than_equal", msg).with("le", max));
    }
    Ok(n.into())
}

fn choice(name: &str, value: &Value, words: &[&str]) -> Result<Value, Problem> {
    if value.as_str().is_some_and(|s| words.contains(&s)) {
        return Ok(value.clone());
    }
    let expected = spoken(words);
    Err(Problem::new(&[name], "literal_error", format!("Input should be {expected}")).with("expected", expected))
}

/// `'a', 'b' or 'c'`.
fn spoken(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

fn image_size(name: &str, value: &Value, limits: (u32, u32, u64)) -> Result<Value, Vec<Problem>> {
    let (min, max, area) = limits;
    let one = |problem: Problem| vec![problem.given(value)];
    let (size, checked) = match value {
        Value::String(preset) => match ImageSize::preset(preset) {
            Some(size) => (size, value.clone()),
            None => {
                let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
                return Err(choice(name, value, &names).map_err(one).err().unwrap_or_default());
            }
        },
        Value::Object(object) => {
            let size = sides(name, object, min, max)?;
            (size, json!({ "width": size.width, "height": size.height }))
        }
        _ => {
            let msg = "Input should be a preset name or an object with width and height";
            return Err(one(Problem::new(&[name], "image_size_type", msg)));
        }
    };
    if size.area() > area || size.width > max || size.height > max {
        let side = max.min(area.isqrt() as u32);
        let msg = format!(
            "Image is too large for this model: {}x{} pixels; at most {area} pixels in all, such as {side}x{side}",
            size.width, size.height
        );
        let problem = Problem::new(&[name], "image_too_large", msg);
        return Err(one(problem.with("max_width", side).with("max_height", side)));
    }
    Ok(checked)
}

fn sides(name: &str, object: &Map<String, Value>, min: u32, max: u32) -> Result<ImageSize, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut side = |key: &str| match object.get(key).filter(|v| !v.is_null()) {
        None => DEFAULT_SIDE,
        Some(value) => match integer(&[name, key], value, min.into(), max.into()) {
            Ok(n) => n.as_u64().and_then(|n| n.try_into().ok()).unwrap_or(DEFAULT_SIDE),
            Err(problem) => {
                problems.push(problem.given(value));
                DEFAULT_SIDE
            }
        },
    };
    let size = ImageSize { width: side("width"), height: side("height") };
    if problems.is_empty() { Ok(size) } else { Err(problems) }
}
