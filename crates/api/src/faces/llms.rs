//! Markdown for language models (protocol 10.4).

use std::fmt::Write;

use serde_json::Value;

use super::Places;
use crate::answers::Standing;
use crate::endpoint::Endpoint;
use crate::endpoints::ENDPOINTS;
use crate::field::{Field, Kind, Shape};
use crate::image_size::PRESETS;
use crate::output::{FLAGS_HELP, FileShape, OutputShape};

/// All endpoints, a line each, with how it stands in this installation.
pub fn llms(places: &Places, standing: &dyn Fn(&Endpoint) -> Standing) -> String {
    let mut text = "# Scumble\n\n> A self-hosted image-generation server that speaks fal's Model API.\n\n".to_owned();
    text += "Call an endpoint by its id: `POST ";
    text += &places.run;
    text += "/{id}` with the input as JSON. Each page below has its fields and examples.\n\n## Endpoints\n\n";
    for endpoint in ENDPOINTS {
        let (Endpoint { id, title, description, .. }, Standing { label, .. }) = (endpoint, standing(endpoint));
        let _ =
            writeln!(text, "- [{title} (`{id}`)]({}/models/{id}/llms.txt): {description} **{label}.**", places.pages);
    }
    let _ = write!(text, "\n## More\n\n- [OpenAPI]({0}/openapi.json)\n- [Documents]({0}/docs)\n", places.pages);
    text
}

/// Everything about one endpoint.
pub fn llms_of(endpoint: &Endpoint, places: &Places, standing: &Standing) -> String {
    let Endpoint { id, title, description, .. } = endpoint;
    let (Places { run, pages, .. }, Standing { label, text, .. }) = (places, standing);
    format!(
        "# {title}\n\n> {description}\n\n\
         ## Overview\n\n\
         - **Endpoint**: `{run}/{id}`\n- **Model ID**: `{id}`\n- **Category**: {}\n- **Kind**: inference\n\
         - **On this server**: {label}. {text}\n\n\
         ## Input\n\n{}\n\
         {}\
         ## Output\n\n{}\n\
         ## Calling it\n\n{}\n\
         ## More\n\n- [OpenAPI]({pages}/models/{id}/openapi.json)\n- [All endpoints]({pages}/llms.txt)\n",
        endpoint.category(),
        lines(endpoint.fields()),
        examples(endpoint),
        output(endpoint.output),
        calls(endpoint, places),
    ) + &types(endpoint)
}

/// The objects inside the input, each under its published name.
fn types(endpoint: &Endpoint) -> String {
    let section = |shape: &&Shape| format!("\n## {}\n\n{}", shape.name, lines(shape.fields));
    endpoint.shapes().iter().map(section).collect()
}

fn lines(fields: &[Field]) -> String {
    fields.iter().map(line).collect()
}

fn line(field: &Field) -> String {
    let Field { name, kind, help, .. } = field;
    let need = if field.is_required() { "required" } else { "optional" };
    let mut text = format!("- **`{name}`** ({}, {need}): {help}", kind.type_name());
    if let Some(default) = field.default() {
        let _ = write!(text, " Default: `{default}`.");
    }
    match kind {
        Kind::Integer { min, max } => drop(write!(text, " Range: `{min}` to `{max}`.")),
        Kind::Number { min, max } if min.is_finite() => drop(write!(text, " Range: `{min}` to `{max}`.")),
        Kind::Choice(words) => drop(write!(text, " Options: {}.", quoted(words))),
        Kind::List { max, .. } => drop(write!(text, " At most {max} entries.")),
        Kind::ImageSize { .. } => {
            let presets: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
            let _ = write!(text, " Options: {}, or an object with `width` and `height`.", quoted(&presets));
        }
        _ => {}
    }
    text + "\n"
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("`\"{w}\"`")).collect::<Vec<_>>().join(", ")
}

fn output(shape: OutputShape) -> String {
    let keys = match shape.file {
        FileShape::Image => "`url`, `width`, `height`, `content_type`",
        FileShape::LongImage => "`url`, `content_type`, `file_name`, `file_size`, `width`, `height`",
        FileShape::File { .. } => "`url`, `content_type`, `file_name`, `file_size`",
    };
    let mut text = format!("- **`images`** (list): the pictures; each has {keys}\n");
    let flags = format!("- **`has_nsfw_concepts`** (list of boolean): {FLAGS_HELP}\n");
    for (there, line) in [
        (shape.timings, "- **`timings`** (object): seconds by stage\n"),
        (shape.seed, "- **`seed`** (integer): the seed that was used\n"),
        (shape.flags, &flags),
        (shape.prompt, "- **`prompt`** (string): the prompt that was used\n"),
    ] {
        text += if there { line } else { "" };
    }
    text
}

fn examples(endpoint: &Endpoint) -> String {
    format!(
        "Least:\n\n```json\n{:#}\n```\n\nFull:\n\n```json\n{:#}\n```\n\n",
        Value::Object(endpoint.least_example()),
        Value::Object(endpoint.full_example())
    )
}

fn calls(endpoint: &Endpoint, places: &Places) -> String {
    let Places { run, queue, pages } = places;
    let (id, input) = (endpoint.id, Value::Object(endpoint.least_example()));
    format!(
        "```bash\ncurl {run}/{id} \\\n  -H \"Authorization: Key $FAL_KEY\" -H \"Content-Type: application/json\" \\\n  \
         -d '{input}'\n```\n\n\
         ```python\nimport os\n\nimport fal_client\nimport fal_client.client as client\n\n\
         client.RUN_URL_FORMAT = \"{run}/\"\nclient.QUEUE_URL_FORMAT = \"{queue}/\"\n\
         os.environ.setdefault(\"FAL_KEY\", \"any\")  # until a key is made here, any text will do\n\n\
         result = fal_client.subscribe(\"{id}\", arguments={input})\nprint(result)\n```\n\n\
         ```javascript\nimport {{ fal }} from \"@fal-ai/client\";\n\n\
         fal.config({{\n  credentials: process.env.FAL_KEY,\n  proxyUrl: {{ url: \"{pages}/api/fal/proxy\", when: \"always\" }},\n}});\n\
         const result = await fal.subscribe(\"{id}\", {{ input: {input} }});\nconsole.log(result.data);\n```\n\n\
         More ways to point a client at this server: {pages}/docs/clients\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_and_every_option_is_named() {
        let standing = |endpoint: &Endpoint| Standing::of(endpoint, None);
        let places = Places { run: "http://h/run".into(), queue: "http://h/queue".into(), pages: "http://h".into() };
        for endpoint in ENDPOINTS {
            assert!(llms(&places, &standing).contains(&format!("/models/{}/llms.txt", endpoint.id)));
            let text = llms_of(endpoint, &places, &standing(endpoint));
            for field in endpoint.fields().iter().chain(endpoint.shapes().iter().flat_map(|s| s.fields)) {
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
