//! What to draw: `--input`, then `-i`, then prompt and seed, each over the one before.

use std::io::{IsTerminal, Read};
use std::path::Path;

use scumble_api::{Endpoint, EndpointId, Family, Field, Input, Kind, Scope};
use serde_json::{Map, Value};

use super::problems;
use crate::args::{Run, Seed};
use crate::failure::Failure;
use crate::meant;
use crate::out;

/// A longer prompt is refused by every model's tokenizer in some way or other, and was hardly meant.
const PROMPT_BYTES: usize = 32 * 1024;
/// Fields may hold pictures.
const INPUT_BYTES: usize = 64 * 1024 * 1024;
/// What stands for stdin.
const STDIN: &str = "-";
/// Fields that every endpoint takes on the owner's own command line, whatever its page says ([`Scope::Local`]).
const EVERYWHERE: [&str; 2] = ["image_size", "max_sequence_length"];

/// What was typed, checked. A name that the endpoint does not have is a mistake here: nobody else's program depends on it.
pub(super) fn read(args: &Run) -> Result<(&'static Endpoint, Input), Failure> {
    let (id, prompt) = endpoint_and_prompt(&args.words)?;
    if args.own.weights.is_some() && args.words.first() != Some(&id) {
        return Err(weights_of_nothing(prompt.as_deref()));
    }
    let endpoint = scumble_api::find(&id).ok_or_else(|| unknown(&id, prompt.is_none()))?;
    if prompt.as_deref() == Some(STDIN) && args.input.as_deref() == Some(Path::new(STDIN)) {
        return Err(Failure::Usage("the prompt and --input cannot both come from stdin".into()));
    }
    let mut fields = match &args.input {
        Some(path) => read_fields(path)?,
        None => Map::new(),
    };
    fields.extend(args.fields.iter().cloned());
    if let Some(prompt) = prompt {
        let prompt = if prompt == STDIN { typed_prompt()? } else { prompt };
        fields.insert("prompt".into(), prompt.into());
    }
    match args.seed {
        Some(Seed::Number(seed)) => drop(fields.insert("seed".into(), seed.into())),
        Some(Seed::Any) => drop(fields.shift_remove("seed")),
        None => {}
    }
    if endpoint.field("prompt").is_some_and(Field::is_required) && !fields.contains_key("prompt") {
        return Err(without_prompt(endpoint));
    }
    Ok((endpoint, checked(endpoint, fields)?))
}

/// The fields of an input, checked.
pub(in crate::commands) fn checked(
    endpoint: &'static Endpoint,
    mut fields: Map<String, Value>,
) -> Result<Input, Failure> {
    fields.iter_mut().filter(|(name, _)| *name == "image_size").for_each(|(_, size)| in_pixels(size));
    let mut unknown = Vec::new();
    find_unknown(endpoint.fields(), &EVERYWHERE, "", &fields, &mut unknown);
    let elsewhere = fields.keys().filter(|name| endpoint.field(name).is_none() && !EVERYWHERE.contains(&name.as_str()));
    let elsewhere = elsewhere.filter_map(|name| Some(format!("{} has {name}", endpoint.sibling_with(name)?.id)));
    unknown.extend(elsewhere.collect::<Vec<_>>());
    if !unknown.is_empty() {
        let id = endpoint.id;
        unknown.push(format!("`scumble models show {id}` shows its fields"));
        return Err(Failure::Usage(format!("{id}: {}", unknown.join("; "))));
    }
    let invalid = |found: Vec<_>| Failure::Usage(problems::said(endpoint, found));
    endpoint.parse(&Value::Object(fields), Scope::Local).map_err(invalid)
}

/// A first word that is an id names the endpoint; what remains is the prompt.
fn endpoint_and_prompt(words: &[String]) -> Result<(String, Option<String>), Failure> {
    let starter = || "scumble/starter".to_owned();
    match words {
        [] => Ok((starter(), None)),
        [one] if EndpointId::parse(one).is_some() && one.contains('/') => Ok((one.clone(), None)),
        [one] => Ok((starter(), Some(one.clone()))),
        [endpoint, prompt, ..] if EndpointId::parse(endpoint).is_some() => Ok((endpoint.clone(), Some(prompt.clone()))),
        [endpoint, ..] => {
            let hint = meant::did_you_mean(&meant::endpoints(endpoint));
            Err(Failure::Usage(format!(
                "'{endpoint}' is not the id of an endpoint{hint}; a prompt of several words needs quotes: scumble run \
                 \"two red stars\""
            )))
        }
    }
}

/// An id that nothing has; alone, it may have been a prompt.
fn unknown(id: &str, alone: bool) -> Failure {
    let said = meant::no_endpoint(id);
    if !alone {
        return Failure::Usage(said);
    }
    Failure::Usage(format!("{said}. If this is a prompt, name the endpoint too: scumble run scumble/starter {id:?}"))
}

/// A folder of weights, and no word about what is to be drawn with it.
fn weights_of_nothing(prompt: Option<&str>) -> Failure {
    let prompt = prompt.map_or_else(|| "PROMPT".to_owned(), |prompt| format!("{prompt:?}"));
    Failure::Usage(format!(
        "--weights needs the endpoint that is to be answered from them, such as fal-ai/flux/schnell: scumble run ENDPOINT \
         {prompt} --weights PATH. `scumble models list` shows the endpoints"
    ))
}

/// Nothing says what to draw.
fn without_prompt(endpoint: &Endpoint) -> Failure {
    let id = match endpoint.family {
        Family::Starter => String::new(),
        _ => format!("{} ", endpoint.id),
    };
    Failure::Usage(format!(
        "the prompt is missing: scumble run {id}\"a red star on a blue background\". `scumble run {id}--help` shows what \
         else it takes"
    ))
}

/// `512x384`, as people write a size, becomes the object that stands for it.
fn in_pixels(size: &mut Value) {
    let sides = size.as_str().and_then(|text| text.split_once(['x', '×']));
    let side = |text: &str| text.trim().parse::<u32>().ok();
    if let Some((width, height)) = sides.and_then(|(width, height)| Some((side(width)?, side(height)?))) {
        *size = serde_json::json!({ "width": width, "height": height });
    }
}

/// The prompt from stdin, without the end of its last line.
fn typed_prompt() -> Result<String, Failure> {
    if std::io::stdin().is_terminal() {
        out::say("Type the prompt, then Ctrl-D on a line of its own.");
    }
    let text = read_text("the prompt on stdin", std::io::stdin().lock(), PROMPT_BYTES)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn read_fields(path: &Path) -> Result<Map<String, Value>, Failure> {
    let (name, text) = if path == Path::new(STDIN) {
        ("stdin".to_owned(), read_text("stdin", std::io::stdin().lock(), INPUT_BYTES)?)
    } else {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|e| Failure::about("read", path, e))?;
        let text = read_text(&name, file, INPUT_BYTES)?;
        (name, text)
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Failure::Usage(format!("{name} holds JSON, but not an object"))),
        Err(e) => Err(Failure::Usage(format!("{name} is not JSON: {e}"))),
    }
}

fn read_text(name: &str, from: impl Read, most: usize) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    from.take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::System(format!("cannot read {name}: {e}")))?;
    if bytes.len() > most {
        return Err(Failure::Usage(format!("{name} is longer than {} KiB, which is the most", most / 1024)));
    }
    String::from_utf8(bytes).map_err(|_| Failure::Usage(format!("{name} is not text in UTF-8")))
}

/// Names that no field has, here and in the objects inside, each with what was perhaps meant.
fn find_unknown(
    known: &[Field],
    also: &[&'static str],
    place: &str,
    given: &Map<String, Value>,
    found: &mut Vec<String>,
) {
    for (name, value) in given {
        let path = format!("{place}{name}");
        match known.iter().find(|field| field.name == name) {
            Some(field) => find_unknown_in(&field.kind, &path, value, found),
            None if also.contains(&name.as_str()) => {}
            None => {
                let names: Vec<&str> = known.iter().map(|field| field.name).collect();
                let others = also.iter().copied().filter(|name| !names.contains(name));
                let names: Vec<&str> = others.chain(names.iter().copied()).collect();
                let near = match name.as_str() {
                    // asked for so often that it is worth a line
                    "width" | "height" | "size" if names.contains(&"image_size") => vec!["image_size"],
                    name => meant::names(name, &names),
                };
                found.push(format!("there is no field {path}{}", meant::did_you_mean(&near)));
            }
        }
    }
}

fn find_unknown_in(kind: &Kind, path: &str, value: &Value, found: &mut Vec<String>) {
    match (kind, value) {
        (Kind::Object(shape), Value::Object(given)) => {
            find_unknown(shape.fields, &[], &format!("{path}."), given, found);
        }
        (Kind::List { item, .. }, Value::Array(values)) => {
            for (place, value) in values.iter().enumerate() {
                find_unknown_in(item, &format!("{path}.{place}"), value, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scumble_api::ENDPOINTS;
    use serde_json::json;

    #[test]
    fn a_word_with_a_slash_is_an_endpoint_and_the_rest_a_prompt() {
        let check = |words: &[&str], endpoint: &str, prompt: Option<&str>| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            let (id, text) = endpoint_and_prompt(&words).expect("readable");
            assert_eq!((id.as_str(), text.as_deref()), (endpoint, prompt));
        };
        check(&[], "scumble/starter", None);
        check(&["a red star"], "scumble/starter", Some("a red star"));
        check(&[""], "scumble/starter", Some(""));
        check(&["star"], "scumble/starter", Some("star"));
        check(&["-"], "scumble/starter", Some("-"));
        check(&["fal-ai/flux/dev"], "fal-ai/flux/dev", None);
        check(&["fal-ai/flux/dev", "a cat"], "fal-ai/flux/dev", Some("a cat"));
        assert!(endpoint_and_prompt(&["two".into(), "stars".into()]).is_err());
    }

    #[test]
    fn what_is_known_everywhere_is_taken_everywhere() {
        for endpoint in ENDPOINTS {
            let mut input = endpoint.least_example();
            input.insert("image_size".into(), json!({ "width": 256, "height": 256 }));
            input.insert("max_sequence_length".into(), json!(64));
            let parsed = endpoint.parse(&Value::Object(input), Scope::Local);
            assert!(parsed.is_ok(), "{}: {parsed:?}", endpoint.id);
        }
    }

    #[test]
    fn sizes_can_be_written_as_people_write_them() {
        let read = |text: &str| {
            let mut size = json!(text);
            in_pixels(&mut size);
            size
        };
        for written in ["512x384", "512 x 384", "512×384"] {
            assert_eq!(read(written), json!({ "width": 512, "height": 384 }), "{written}");
        }
        for other in ["square_hd", "x", "512x", "-1x5", "1x2x3", "landscape_16_9", "99999999999x1"] {
            assert_eq!(read(other), json!(other));
        }
    }

    #[test]
    fn unknown_names_are_found_at_any_depth() {
        let endpoint = scumble_api::find("fal-ai/hidream-i1-full").expect("an endpoint with LoRAs");
        let given = json!({ "promt": "x", "loras": [{ "path": "a", "scal": 1 }], "image_size": "square" });
        let mut found = Vec::new();
        find_unknown(endpoint.fields(), &EVERYWHERE, "", given.as_object().expect("an object"), &mut found);
        assert_eq!(
            found,
            ["there is no field promt (did you mean prompt?)", "there is no field loras.0.scal (did you mean scale?)"]
        );
        // what the endpoint has and the command line too is named once
        let fill = scumble_api::find("fal-ai/flux-lora-fill").expect("an endpoint");
        let mut found = Vec::new();
        find_unknown(fill.fields(), &EVERYWHERE, "", json!({ "image": 1 }).as_object().expect("an object"), &mut found);
        assert!(found[0].matches("image_size").count() == 1 && found[0].contains("image_url"), "{found:?}");
    }
}
