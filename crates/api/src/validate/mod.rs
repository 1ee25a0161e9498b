//! A caller's JSON against an endpoint's fields, with pydantic's leniency and pydantic's words, which fal's users know.

mod path;
mod scalar;
mod size;
mod unknown;

use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::error::Problem;
use crate::field::{Field, Fill, Kind, Scope, Shape};
use crate::image_size::{SIDE_MAX, SizeLimits};
use crate::input::{Heard, Ignored, Input};
use path::Path;
pub(crate) use scalar::TEXT_MAX;

/// What the owner's own command line may set on every text-to-image endpoint.
const LOCAL_FIELDS: &[Field] = &[
    Field {
        name: "image_size",
        kind: Kind::ImageSize { min: 16, max: SIDE_MAX, area: 16_777_216, step: 16 },
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
/// As if no seed was said.
const RANDOM_SEED: i128 = -1;
/// The most steps that a local run may take.
const LOCAL_STEPS: i64 = 1000;

pub(crate) fn parse(endpoint: &'static Endpoint, body: &Value, scope: Scope) -> Result<Input, Vec<Problem>> {
    let empty = json!({});
    let body = if body.is_null() { &empty } else { body };
    let local = LOCAL_FIELDS.iter().filter(|f| scope == Scope::Local && endpoint.field(f.name).is_none());
    let fields: Vec<&Field> = endpoint.fields().iter().chain(local).collect();
    let checker = Checker { scope, open: endpoint.family.maker().is_none() };
    let checked = checker.object(&fields, endpoint.input.apart, &Path::root(), body);
    let values = checked.map_err(|problems| wrapped(endpoint, body).map_or(problems, |problem| vec![problem]))?;
    let unknown = body.as_object().map_or_else(Vec::new, |given| unknown::unknown(&fields, given));
    let heard = Heard {
        ignored: Ignored::of(unknown.iter()),
        scaled: size::scaled(body.get("image_size"), values.get("image_size")),
    };
    Ok(Input::checked(endpoint, values, heard))
}

/// fal's clients take `{"input": …}` and send what is in it; who writes requests by hand may send the wrapper too.
fn wrapped(endpoint: &Endpoint, body: &Value) -> Option<Problem> {
    let inner = body.get("input")?.as_object()?;
    let inside =
        |field: &&Field| field.is_required() && inner.contains_key(field.name) && body.get(field.name).is_none();
    let field = endpoint.fields().iter().find(inside).filter(|_| endpoint.field("input").is_none())?;
    let msg =
        format!("The fields stand in the body itself: leave out the input wrapper and send {{\"{}\": …}}", field.name);
    Some(Problem::new(&["input"], "value_error", msg))
}

/// Checks values and fills what is left out.
struct Checker {
    scope: Scope,
    /// Whether anybody may have the weights. Programs for open models say [`RANDOM_SEED`] too.
    open: bool,
}

impl Checker {
    /// An object's fields, all problems at once.
    fn object(
        &self,
        fields: &[&Field],
        apart: &[(&str, &str)],
        path: &Path<'_>,
        value: &Value,
    ) -> Result<Map<String, Value>, Vec<Problem>> {
        let Value::Object(given) = value else {
            let msg = "Input should be a valid dictionary or object to extract fields from";
            return Err(vec![path.problem("model_attributes_type", msg).given(value)]);
        };
        let (mut values, mut problems) = (Map::new(), Vec::new());
        for field in fields {
            let path = path.field(field.name);
            match given.get(field.name).filter(|v| !v.is_null() || field.is_required()) {
                Some(value) => match self.check(&self.limits(field), &path, value) {
                    Ok(Value::Null) => {}
                    Ok(value) => drop(values.insert(field.name.into(), value)),
                    Err(found) => problems.extend(found),
                },
                None if field.is_required() => {
                    problems.push(path.problem("missing", "Field required").given(value));
                }
                None => values.extend(field.default().map(|value| (field.name.to_owned(), value))),
            }
        }
        let both = |(a, b): &&(&str, &str)| is_given(given, a) && is_given(given, b);
        for (one, other) in apart.iter().filter(both) {
            let msg = format!("{one} cannot be used together with {other}");
            problems.push(path.field(one).problem("value_error", msg).given(&given[*one]));
        }
        if problems.is_empty() { Ok(values) } else { Err(problems) }
    }

    /// The value in its own type, or what is wrong with it.
    fn check(&self, kind: &Kind, path: &Path<'_>, value: &Value) -> Result<Value, Vec<Problem>> {
        let one = |problem: Problem| vec![problem.given(value)];
        match *kind {
            Kind::Text => scalar::text(path, value).map_err(one),
            Kind::Image | Kind::Mask { .. } | Kind::Weights { .. } => scalar::file(path, value).map_err(one),
            Kind::Boolean => scalar::boolean(path, value).map_err(one),
            Kind::Integer { min, max } => scalar::integer(path, value, min.into(), max.into()).map_err(one),
            Kind::Seed if self.open && scalar::integer(path, value, RANDOM_SEED, RANDOM_SEED).is_ok() => {
                Ok(Value::Null)
            }
            Kind::Seed => scalar::integer(path, value, 0, u64::MAX.into()).map_err(one),
            Kind::Number { min, max } => scalar::number(path, value, min, max).map_err(one),
            Kind::Choice(words) => scalar::choice(path, value, words).map_err(one),
            Kind::Hex { digits } => scalar::hex(path, value, digits).map_err(one),
            Kind::ImageSize { min, max, area, step } => {
                size::image_size(path, value, SizeLimits { min, max, area, step })
            }
            Kind::List { item, max } => self.list(item, max, path, value),
            Kind::Object(Shape { fields, apart, .. }) => {
                let fields: Vec<&Field> = fields.iter().collect();
                self.object(&fields, apart, path, value).map(Value::Object)
            }
        }
    }

    fn list(&self, item: &Kind, max: usize, path: &Path<'_>, value: &Value) -> Result<Value, Vec<Problem>> {
        let Value::Array(items) = value else {
            return Err(vec![path.problem("list_type", "Input should be a valid list").given(value)]);
        };
        if items.len() > max {
            let msg = format!("List should have at most {max} items, not {}", items.len());
            return Err(vec![path.problem("sequence_too_long", msg).with("max_length", max).given(value)]);
        }
        let (mut values, mut problems) = (Vec::new(), Vec::new());
        for (place, value) in items.iter().enumerate() {
            match self.check(item, &path.item(place), value) {
                Ok(value) => values.push(value),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(Value::Array(values)) } else { Err(problems) }
    }

    /// A field's kind, with the page's upper bound on steps lifted for the owner's own runs.
    fn limits(&self, field: &Field) -> Kind {
        match (field.name, field.kind, self.scope) {
            ("num_inference_steps", Kind::Integer { min, .. }, Scope::Local) => Kind::Integer { min, max: LOCAL_STEPS },
            (_, kind, _) => kind,
        }
    }
}

/// Whether a caller said something there: an empty list or text says nothing.
fn is_given(given: &Map<String, Value>, name: &str) -> bool {
    given.get(name).is_some_and(|v| !(v.is_null() || *v == json!([]) || *v == json!("")))
}
