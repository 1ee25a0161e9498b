//! Markdown for language models (protocol 10.4).

use std::fmt::Write;

use serde_json::json;

use super::{Places, schema};
use crate::endpoint::{Endpoint, Field, Fill, Kind};
use crate::endpoints::ENDPOINTS;
use crate::image_size::PRESETS;

/// All endpoints, a line each.
pub fn llms(places: &Places) -> String {
    let mut text = "# Scumble\n\n> A self-hosted image-generation server that speaks fal's Model API.\n\n".to_owned();
    text += "Call an endpoint by its id: `POST ";
    text += &places.run;
    text += "/{id}` with the input as JSON. Each page below has its fields and examples.\n\n## Endpoints\n\n";
    for Endpoint { id, title, description, .. } in ENDPOINTS {
        let _ = writeln!(text, "- [{title} (`{id}`)]({}/models/{id}/llms.txt): {description}", places.pages);
    }
    text
}

/// Everything about one endpoint.
pub fn llms_of(endpoint: &Endpoint, places: &Places) -> String {
    let Endpoint { id, title, description, .. } = endpoint;
    let Places { run, pages, .. } = places;
    let fields: String = endpoint.fields.iter().map(line).collect();
    format!(
        "# {title}\n\n> {description}\n\n\
         ## Overview\n\n\
         - **Endpoint**: `{run}/{id}`\n- **Model ID**: `{id}`\n- **Category**: text-to-image\n- **Kind**: inference\n\n\
         ## Input\n\n{fields}\n\
         {}\n\
         ## Output\n\n\
         - **`images`** (list of Image): the generated images; each has `url`, `width`, `height`, `content_type`\n\
         - **`timings`** (object): seconds by stage\n\
         - **`seed`** (integer): the seed that was used\n\
         - **`has_nsfw_concepts`** (list of boolean): one flag per image\n\
         - **`prompt`** (string): the prompt that was used\n\n\
         ## Calling it\n\n{}\n\
         ## More\n\n- [OpenAPI]({pages}/models/{id}/openapi.json)\n- [All endpoints]({pages}/llms.txt)\n",
        examples(endpoint),
        calls(endpoint, places),
    )
}

fn line(field: &Field) -> String {
    let Field { name, kind, fill, help } = field;
    let need = match fill {
        Fill::Required => "required",
        _ => "optional",
    };
    let mut text = format!("- **`{name}`** ({}, {need}): {help}", type_of(kind));
    if let Some(default) = schema::default(*fill) {
        let _ = write!(text, " Default: `{default}`.");
    }
    match kind {
        Kind::Integer { min, max } => drop(write!(text, " Range: `{min}` to `{max}`.")),
        Kind::Number { min, max } => drop(write!(text, " Range: `{min}` to `{max}`.")),
        Kind::Choice(words) => drop(write!(text, " Options: {}.", quoted(words))),
        Kind::ImageSize { .. } => {
            let presets: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
            let _ = write!(text, " Options: {}, or an object with `width` and `height`.", quoted(&presets));
        }
        Kind::Text | Kind::Boolean | Kind::Seed => {}
    }
    text + "\n"
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("`\"{w}\"`")).collect::<Vec<_>>().join(", ")
}

fn type_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text => "string",
        Kind::Boolean => "boolean",
        Kind::Integer { .. } | Kind::Seed => "integer",
        Kind::Number { .. } => "float",
        Kind::Choice(_) => "enum",
        Kind::ImageSize { .. } => "ImageSize or enum",
    }
}

fn examples(endpoint: &Endpoint) -> String {
    let mut full = serde_json::Map::new();
    for field in endpoint.fields {
        if field.name == "prompt" {
            full.insert("prompt".into(), endpoint.example.into());
        } else if let Some(default) = schema::default(field.fill) {
            full.insert(field.name.into(), default);
        }
    }
    format!(
        "Least:\n\n```json\n{:#}\n```\n\nFull:\n\n```json\n{:#}\n```\n",
        json!({ "prompt": endpoint.example }),
        serde_json::Value::Object(full)
    )
}

fn calls(endpoint: &Endpoint, places: &Places) -> String {
    let (id, run, input) = (endpoint.id, &places.run, json!({ "prompt": endpoint.example }));
    format!(
        "```bash\ncurl {run}/{id} \\\n  -H \"Authorization: Key $FAL_KEY\" -H \"Content-Type: application/json\" \\\n  \
         -d '{input}'\n```\n\n\
         ```python\nimport fal_client\n\nresult = fal_client.subscribe(\"{id}\", arguments={input})\nprint(result)\n```\n\n\
         ```javascript\nimport {{ fal }} from \"@fal-ai/client\";\n\nconst result = await fal.subscribe(\"{id}\", {{ input: {input} }});\n\
         console.log(result.data);\n```\n\n\
         Clients reach this server as its docs/CLIENTS.md says.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_every_option_is_named() {
        let places = Places { run: "http://h/run".into(), queue: "http://h/queue".into(), pages: "http://h".into() };
        for endpoint in ENDPOINTS {
            assert!(llms(&places).contains(&format!("/models/{}/llms.txt", endpoint.id)));
            let text = llms_of(endpoint, &places);
            for field in endpoint.fields {
                assert!(text.contains(&format!("**`{}`**", field.name)), "{}: {}", endpoint.id, field.name);
                if let Kind::Choice(words) = field.kind {
                    assert!(words.iter().all(|word| text.contains(&format!("`\"{word}\"`"))), "{}", field.name);
                }
            }
            for call in ["curl", "fal_client", "@fal-ai/client"] {
                assert!(text.contains(call));
            }
        }
    }
}
