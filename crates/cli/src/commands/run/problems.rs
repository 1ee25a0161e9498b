//! What is wrong with an input, for somebody who types it: the form in which a list or an object is typed, in place of
//! words that programs for fal's API know.

use scumble_api::{Endpoint, ErrorAnswer, Field, Kind, Problem};
use serde_json::{Map, Value, json};

/// One readable line.
pub(super) fn said(endpoint: &Endpoint, problems: Vec<Problem>) -> String {
    let typed: Vec<Problem> = problems.into_iter().map(|problem| as_typed(endpoint, problem)).collect();
    ErrorAnswer::invalid(&typed).message()
}

fn as_typed(endpoint: &Endpoint, problem: Problem) -> Problem {
    let name = problem.loc.get(1).and_then(Value::as_str).unwrap_or_default();
    let Some(field) = endpoint.field(name) else { return problem };
    let msg = match problem.kind.as_str() {
        "list_type" => format!("expected a list; type {}", form(field)),
        "model_attributes_type" => format!("expected an object; type {}", form(field)),
        "image_size_type" | "literal_error" if matches!(field.kind, Kind::ImageSize { .. }) => {
            let names = scumble_api::PRESETS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
            format!("expected a size such as 512x384 or {{\"width\": 1024, \"height\": 768}}, or one of {names}")
        }
        _ => return problem,
    };
    Problem { msg, ..problem }
}

/// How the field is typed: `-i loras='[{"path": "x.safetensors"}]'`.
fn form(field: &Field) -> String {
    // serde_json leaves out the spaces that people read better with
    let value = example(field).to_string().replace("\":", "\": ").replace(",\"", ", \"");
    format!("-i {}='{value}'", field.name)
}

/// The least that the field takes.
fn example(field: &Field) -> Value {
    of_kind(&field.kind, field)
}

fn of_kind(kind: &Kind, field: &Field) -> Value {
    match *kind {
        Kind::Image | Kind::Mask { .. } => json!("picture.png"),
        Kind::Weights { .. } => json!("x.safetensors"),
        Kind::List { item, .. } => json!([of_kind(item, field)]),
        Kind::Object(shape) => {
            let needed = shape.fields.iter().filter(|field| field.is_required());
            Value::Object(needed.map(|field| (field.name.to_owned(), example(field))).collect::<Map<_, _>>())
        }
        Kind::Integer { min, .. } => field.default().unwrap_or_else(|| min.into()),
        Kind::Number { .. } | Kind::Seed => field.default().unwrap_or_else(|| 1.into()),
        Kind::Boolean => field.default().unwrap_or_else(|| true.into()),
        Kind::Choice(words) => field.default().unwrap_or_else(|| words.first().copied().into()),
        Kind::ImageSize { .. } => json!("512x384"),
        Kind::Hex { digits } => "0".repeat(digits).into(),
        Kind::Text => json!("text"),
    }
}

#[cfg(test)]
mod tests {
    use scumble_api::{ENDPOINTS, Scope};

    use super::*;

    fn told(id: &str, field: &str, value: Value) -> String {
        let endpoint = scumble_api::find(id).expect("an endpoint");
        let mut input = endpoint.least_example();
        input.insert(field.into(), value);
        said(endpoint, endpoint.parse(&Value::Object(input), Scope::Local).expect_err("refused"))
    }

    #[test]
    fn lists_objects_and_sizes_are_told_as_they_are_typed() {
        let large = "fal-ai/stable-diffusion-v35-large";
        let loras = r#"-i loras='[{"path": "x.safetensors"}]'"#;
        assert_eq!(told(large, "loras", json!("x.safetensors")), format!("loras: expected a list; type {loras}"));
        assert_eq!(told(large, "loras", json!(["x"])), format!("loras.0: expected an object; type {loras}"));
        let controlnet = r#"-i controlnet='{"path": "x.safetensors", "control_image_url": "picture.png"}'"#;
        assert_eq!(told(large, "controlnet", json!("x")), format!("controlnet: expected an object; type {controlnet}"));
        for size in [json!("huge"), json!(512)] {
            let said = told(large, "image_size", size);
            assert!(
                said.starts_with("image_size: expected a size such as 512x384 or {") && said.contains("square_hd,"),
                "{said}"
            );
        }
    }

    /// Who types what is said is not told the same again.
    #[test]
    fn every_form_is_accepted() {
        for endpoint in ENDPOINTS {
            for field in endpoint.fields().iter().filter(|f| matches!(f.kind, Kind::List { .. } | Kind::Object(_))) {
                let mut input = endpoint.least_example();
                input.insert(field.name.into(), example(field));
                let parsed = endpoint.parse(&Value::Object(input), Scope::Local);
                let kinds: Vec<String> = parsed.err().unwrap_or_default().into_iter().map(|p| p.kind).collect();
                assert!(!kinds.iter().any(|kind| kind.ends_with("_type")), "{} {}: {kinds:?}", endpoint.id, field.name);
            }
        }
    }
}
