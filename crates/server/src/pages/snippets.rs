//! The request as programs in four languages. The input's place is marked, so that scripts can keep it in step.

use scumble_api::Endpoint;
use scumble_api::faces::Places;
use serde_json::{Value, json};

use super::literal::Language;

/// Stands where the input will be.
const MARK: char = '§';

/// A snippet for each language: its text, and for scripts its text with the mark.
pub(super) fn snippets(endpoint: &Endpoint, places: &Places, input: &Value) -> Vec<Value> {
    let snippet = |language: Language| {
        let frame = frame(language, endpoint.id, places);
        let indent = indent(&frame);
        let text = frame.replacen(MARK, &language.literal(input, indent), 1);
        json!({
            "name": language.name(), "title": language.title(), "frame": frame, "indent": indent, "text": text,
        })
    };
    Language::ALL.into_iter().map(snippet).collect()
}

/// The indentation of the line that holds the mark.
fn indent(frame: &str) -> usize {
    let line = frame.lines().find(|line| line.contains(MARK)).unwrap_or_default();
    line.len() - line.trim_start().len()
}

fn frame(language: Language, id: &str, places: &Places) -> String {
    let Places { run, queue, pages } = places;
    match language {
        Language::JavaScript => format!(
            r#"import {{ fal }} from "@fal-ai/client";

fal.config({{
  credentials: process.env.FAL_KEY,
  proxyUrl: {{ url: "{pages}/api/fal/proxy", when: "always" }},
}});

const {{ data, requestId }} = await fal.subscribe("{id}", {{
  input: {MARK},
  logs: true,
}});
console.log(requestId, data.images[0].url);
"#
        ),
        Language::Python => format!(
            r#"import os

import fal_client
import fal_client.client as client

# until a key is made on this server, any text will do
os.environ.setdefault("FAL_KEY", "any")
client.RUN_URL_FORMAT = "{run}/"
client.QUEUE_URL_FORMAT = "{queue}/"

result = fal_client.subscribe(
    "{id}",
    arguments={MARK},
    with_logs=True,
)
print(result["images"][0]["url"])
"#
        ),
        Language::Curl => format!(
            r#"curl {run}/{id} \
  -H "Authorization: Key $FAL_KEY" \
  -H "Content-Type: application/json" \
  -d {MARK}
"#
        ),
        Language::Rust => format!(
            r#"// reqwest (with its feature json), serde_json, tokio (with its feature full)
use serde_json::{{Value, json}};

#[tokio::main]
async fn main() -> Result<(), reqwest::Error> {{
    let key = std::env::var("FAL_KEY").unwrap_or_default();
    let input = json!({MARK});
    let call = reqwest::Client::new()
        .post("{run}/{id}")
        .header("Authorization", format!("Key {{key}}"))
        .json(&input);
    let output: Value = call.send().await?.error_for_status()?.json().await?;
    println!("{{}}", output["images"][0]["url"]);
    Ok(())
}}
"#
        ),
    }
}
