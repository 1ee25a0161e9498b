//! An endpoint's form, made from the table: what each control shows, holds and says about itself.

use scumble_api::{Endpoint, Field, ImageSize, Kind, PRESETS, Problem, SAFETY_CHECKER, Shade, SizeLimits, Sizing};
use serde_json::{Map, Value, json};

use super::labels::label;
use super::layout::json_text;
use super::values::is_color;

/// A form's fields as its template wants them: required ones first, otherwise in page order. `checks` says what looks at
/// pictures here, beside the switch for it.
pub(super) fn form(
    endpoint: &Endpoint,
    values: &Map<String, Value>,
    problems: &[Problem],
    checks: Option<&str>,
) -> Vec<Value> {
    let problems = Told(problems);
    let fields = endpoint.fields().iter().filter(|field| !field.only_at_fal());
    let (needed, free): (Vec<_>, Vec<_>) = fields.partition(|field| field.is_required());
    let shown = |field: &Field| {
        let mut view = view(field, "", values.get(field.name), &problems);
        if let Some(checks) = checks.filter(|_| field.name == SAFETY_CHECKER) {
            view["help"] = format!("{} {checks}", field.help).into();
        }
        view
    };
    needed.into_iter().chain(free).map(shown).collect()
}

/// How large a result is where the form does not say it: as a picture in one of its fields, or else in pixels.
pub(super) fn usual_size(endpoint: &Endpoint) -> Value {
    let like = endpoint.sizing.iter().find_map(|sizing| match sizing {
        Sizing::Like(pointer) => Some(pointer.trim_start_matches('/').replace('/', ".")),
        _ => None,
    });
    let fixed = endpoint.sizing.iter().find_map(|sizing| match sizing {
        Sizing::Fixed(width, height) => Some((*width, *height)),
        _ => None,
    });
    let (width, height) = fixed.unwrap_or((1024, 1024));
    json!({ "like": like, "width": width, "height": height })
}

/// Problems that belong to no control.
pub(super) fn elsewhere(endpoint: &Endpoint, problems: &[Problem]) -> Vec<String> {
    let strange = |problem: &&Problem| {
        let first = problem.loc.get(1).and_then(Value::as_str);
        first.and_then(|name| endpoint.field(name)).is_none_or(Field::only_at_fal)
    };
    problems.iter().filter(strange).map(|problem| problem.msg.clone()).collect()
}

/// What the server has said about an input.
struct Told<'a>(&'a [Problem]);

impl Told<'_> {
    /// What was said about this path, or about something in it where that has no control of its own.
    fn about(&self, path: &str, whole: bool) -> Option<String> {
        let about = |problem: &&Problem| {
            let place = place(problem);
            place == path || whole && place.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
        };
        let said: Vec<&str> = self.0.iter().filter(about).map(|problem| problem.msg.as_str()).collect();
        (!said.is_empty()).then(|| said.join(". "))
    }
}

/// Where a problem is, as the name of a control.
fn place(problem: &Problem) -> String {
    let word = |step: &Value| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
    problem.loc.iter().skip(1).map(word).collect::<Vec<_>>().join(".")
}

/// One control.
fn view(field: &Field, under: &str, value: Option<&Value>, problems: &Told<'_>) -> Value {
    let path = format!("{under}{}", field.name);
    let default = field.default();
    let shown = value.cloned().or_else(|| default.clone()).unwrap_or(Value::Null);
    let mut view = control(&field.kind, &path, &shown, problems);
    let is_group = view["group"] == true;
    let (help, details) = brief(field.help);
    let more = json!({
        "own": field.name,
        "label": label(field.name),
        "help": help,
        "details": details,
        "required": field.is_required(),
        "default": default.as_ref().map(json_text),
        "type": field.kind.type_name(),
        "on": field.is_required() || value.is_some_and(|value| !value.is_null()),
        "long": field.name.contains("prompt"),
        "error": problems.about(&path, !is_group),
    });
    extend(&mut view, more);
    view
}

/// A long help in two parts: the sentences that stand below a control, and those that open below them.
fn brief(help: &'static str) -> (&'static str, Option<&'static str>) {
    const LONG: usize = 320;
    const SHORT: usize = 160;
    if help.len() <= LONG {
        return (help, None);
    }
    let ends = help.match_indices(". ").map(|(at, _)| at + 1).take_while(|end| *end <= SHORT);
    match ends.last() {
        Some(end) => (&help[..end], Some(help[end..].trim_start())),
        None => (help, None),
    }
}

/// The colour that a mask is painted in: the one that means something.
const fn ink(marks: Shade) -> &'static str {
    match marks {
        Shade::White => "white",
        Shade::Black => "black",
    }
}

/// A control for one value of a kind. `shown` is null where nothing is there.
fn control(kind: &Kind, path: &str, shown: &Value, problems: &Told<'_>) -> Value {
    let base = |kind: &str, more: Value| {
        let mut view = json!({ "kind": kind, "name": path, "id": format!("field-{}", path.replace('.', "-")) });
        extend(&mut view, more);
        view
    };
    let text = || match shown {
        Value::String(text) => text.clone(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        other => other.to_string(),
    };
    match kind {
        Kind::Text | Kind::Weights { .. } => base("text", json!({ "value": text() })),
        Kind::Boolean => base("boolean", json!({ "value": shown == &Value::Bool(true) })),
        Kind::Seed => base("seed", json!({ "value": text() })),
        Kind::Integer { min, max } => {
            let more = json!({ "value": text(), "min": min, "max": max, "step": 1, "slider": max - min <= 1000 });
            base("integer", more)
        }
        Kind::Number { min, max } => {
            let limited = min.is_finite() && max.is_finite();
            let step = if max - min <= 2.0 { 0.01 } else { 0.1 };
            let (min, max) =
                if limited { (json!(short(*min)), json!(short(*max))) } else { (Value::Null, Value::Null) };
            base("number", json!({ "value": text(), "min": min, "max": max, "step": step, "slider": limited }))
        }
        Kind::Choice(words) => base("choice", json!({ "value": text(), "options": words })),
        Kind::Hex { digits } => base("hex", json!({ "value": text(), "digits": digits })),
        Kind::Image => base("image", json!({ "value": text() })),
        Kind::Mask { of, marks } => {
            let around = path.rsplit_once('.').map_or_else(String::new, |(before, _)| format!("{before}."));
            // a picture that is not made yet is in no field
            let of = of.map_or_else(String::new, |of| format!("{around}{of}"));
            base("mask", json!({ "value": text(), "of": of, "ink": ink(*marks) }))
        }
        Kind::ImageSize { min, max, area, step } => {
            let limits = SizeLimits { min: *min, max: *max, area: *area, step: *step };
            let fits = |(width, height)| {
                let size = ImageSize { width, height };
                size.fit(limits) == Some(size)
            };
            let presets = PRESETS.iter().filter(|(_, width, height)| fits((*width, *height)));
            let presets: Vec<Value> = presets
                .map(|(name, width, height)| json!({ "name": name, "width": width, "height": height }))
                .collect();
            let side = |name: &str| shown.get(name).map_or_else(|| "512".to_owned(), Value::to_string);
            let chosen = if shown.is_object() { "custom".to_owned() } else { text() };
            let more = json!({
                "value": chosen, "presets": presets, "width": side("width"), "height": side("height"), "min": min,
                "max": max,
            });
            base("size", more)
        }
        Kind::List { item, max } => {
            let items = shown.as_array().map_or(&[][..], Vec::as_slice).iter().enumerate();
            let items: Vec<Value> =
                items.map(|(n, value)| item_view(item, &format!("{path}.{n}"), value, problems)).collect();
            // the number is put in when one is added
            let template = item_view(item, &format!("{path}.#"), &Value::Null, &Told(&[]));
            base("list", json!({ "group": true, "items": items, "template": template, "max_items": max }))
        }
        Kind::Object(shape) if is_color(shape) => base("color", json!({ "value": color(shown) })),
        Kind::Object(shape) => {
            let under = format!("{path}.");
            let fields = shape.fields.iter().map(|field| view(field, &under, shown.get(field.name), problems));
            let more = json!({ "group": true, "shape": shape.name, "fields": fields.collect::<Vec<_>>() });
            base("object", more)
        }
    }
}

/// One entry of a list.
fn item_view(kind: &Kind, path: &str, value: &Value, problems: &Told<'_>) -> Value {
    let mut view = control(kind, path, value, problems);
    let is_group = view["group"] == true;
    let name = path.split('.').rev().nth(1).unwrap_or_default();
    let one = name.strip_suffix('s').unwrap_or(name);
    let more = json!({
        "item": true, "own": one, "label": label(one), "required": true, "on": true,
        "error": problems.about(path, !is_group),
    });
    extend(&mut view, more);
    view
}

/// `#rrggbb`; black where there is none.
fn color(value: &Value) -> String {
    let channel = |name: &str| value[name].as_u64().unwrap_or(0).min(255);
    format!("#{:02x}{:02x}{:02x}", channel("r"), channel("g"), channel("b"))
}

/// Whole numbers without their point.
fn short(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e9 { (number as i64).into() } else { number.into() }
}

fn extend(view: &mut Value, more: Value) {
    if let (Value::Object(view), Value::Object(more)) = (view, more) {
        view.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use scumble_api::ENDPOINTS;

    use super::*;

    #[test]
    fn every_mask_says_what_its_colours_mean() {
        let fields = |endpoint: &'static Endpoint| {
            endpoint.fields().iter().chain(endpoint.shapes().into_iter().flat_map(|s| s.fields))
        };
        let masks: Vec<&Field> =
            ENDPOINTS.iter().flat_map(fields).filter(|field| matches!(field.kind, Kind::Mask { .. })).collect();
        assert!(masks.len() >= 3);
        for mask in masks {
            let words = [("black where", "black"), ("white where", "white"), ("white on black", "white")];
            let says: Vec<&str> =
                words.iter().filter(|(words, _)| mask.help.contains(words)).map(|(_, ink)| *ink).collect();
            let view = view(mask, "", None, &Told(&[]));
            assert_eq!(says, [view["ink"].as_str().unwrap_or_default()], "{}", mask.help);
        }
    }

    #[test]
    fn what_only_fal_can_follow_is_not_offered_and_its_problems_are_told_all_the_same() {
        let endpoint = scumble_api::find("fal-ai/flux-lora-fill").expect("an endpoint");
        let problem = Problem::new(&["fill_image"], "value_error", "It cannot be followed");
        let form = form(endpoint, &Map::new(), std::slice::from_ref(&problem), None);
        assert!(form.iter().all(|field| field["name"] != "fill_image") && endpoint.field("fill_image").is_some());
        assert_eq!(elsewhere(endpoint, &[problem]), ["It cannot be followed"]);
    }

    #[test]
    fn a_mask_names_the_picture_that_it_is_of_unless_that_is_the_result() {
        let of = |id: &str, values: Value| {
            let endpoint = scumble_api::find(id).expect("an endpoint");
            let form = form(endpoint, values.as_object().expect("an object"), &[], None);
            let all = form.iter().chain(form.iter().filter_map(|field| field["fields"].as_array()).flatten());
            all.filter(|field| field["kind"] == "mask").map(|field| field["of"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(of("fal-ai/flux-lora-fill", json!({})), ["image_url"]);
        let large = "fal-ai/stable-diffusion-v35-large";
        assert_eq!(of(large, json!({ "ip_adapter": {} })), [""], "not of the picture that is followed");
        let usual = usual_size(scumble_api::find(large).expect("an endpoint"));
        assert_eq!(usual, json!({ "like": "controlnet.control_image_url", "width": 1024, "height": 768 }));
    }

    #[test]
    fn a_long_help_opens_where_it_is_wanted() {
        let prompt =
            scumble_api::find("scumble/starter").and_then(|endpoint| endpoint.field("prompt")).expect("a field");
        let (help, details) = brief(prompt.help);
        assert!(help.ends_with("Others are ignored.") && details == Some(scumble_api::STARTER_WORDS), "{help}");
        assert_eq!(brief("Short. Help."), ("Short. Help.", None));
    }

    #[test]
    fn problems_stand_at_their_fields() {
        let endpoint = scumble_api::find("fal-ai/stable-diffusion-v35-large").expect("an endpoint");
        let values = json!({ "prompt": "<b>", "loras": [{ "path": "a" }, {}] });
        let problems = endpoint.parse(&values, scumble_api::Scope::Wire).expect_err("a path is missing");
        let form = form(endpoint, values.as_object().expect("an object"), &problems, None);
        let loras = form.iter().find(|field| field["name"] == "loras").expect("a list");
        assert_eq!(loras["items"][1]["fields"][0]["name"], "loras.1.path");
        assert_eq!(loras["items"][1]["fields"][0]["error"], "Field required");
        assert_eq!((&loras["error"], &loras["items"][0]["fields"][0]["error"]), (&Value::Null, &Value::Null));
        assert!(elsewhere(endpoint, &problems).is_empty());
    }
}
