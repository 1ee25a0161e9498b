//! OpenAPI documents: of one endpoint in the form of fal's own (protocol 10.3), and of the whole server.

mod calls;
mod common;
mod schema;
mod server;

use serde_json::{Map, Value, json};

pub use self::server::openapi_of_server;
use super::Places;
use crate::endpoint::Endpoint;

/// The edition of OpenAPI that a document follows. They differ in how examples are given and how null is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// 3.0.4, which fal publishes.
    V3_0,
    /// 3.1.0.
    V3_1,
}

impl Edition {
    const fn version(self) -> &'static str {
        match self {
            Self::V3_0 => "3.0.4",
            Self::V3_1 => "3.1.0",
        }
    }

    /// A schema whose value may also be null.
    fn nullable(self, mut schema: Value) -> Value {
        match self {
            Self::V3_0 => schema["nullable"] = true.into(),
            Self::V3_1 => schema["type"] = json!([schema["type"], "null"]),
        }
        schema
    }

    /// A schema with an example.
    fn exemplify(self, schema: &mut Value, example: &Value) {
        match self {
            Self::V3_0 => schema["example"] = example.clone(),
            Self::V3_1 => schema["examples"] = json!([example]),
        }
    }
}

/// Describes submit, status, cancel and result of an endpoint.
pub fn openapi(endpoint: &Endpoint, places: &Places, edition: Edition) -> Value {
    let (id, pages) = (endpoint.id, &places.pages);
    let mut schemas = common::schemas(edition);
    schemas.extend(schema::components(endpoint, edition));
    json!({
        "openapi": edition.version(),
        "info": {
            "title": format!("Queue OpenAPI for {id}"),
            "version": "1.0.0",
            "description": format!(
                "The OpenAPI schema for the {id} queue. A request's status comes as server-sent events, too: at its path \
                 with /stream behind it."
            ),
            "x-fal-metadata": {
                "endpointId": id,
                "category": endpoint.category(),
                "thumbnailUrl": "",
                "playgroundUrl": format!("{pages}/models/{id}"),
                "documentationUrl": format!("{pages}/models/{id}/llms.txt"),
            },
        },
        "servers": [{ "url": places.queue }],
        "security": security(),
        "components": components(&schemas),
        "paths": calls::queue(endpoint, "", ""),
    })
}

/// Either a key, or nothing: a server without keys needs none.
fn security() -> Value {
    json!([{ "apiKeyAuth": [] }, {}])
}

fn components(schemas: &Map<String, Value>) -> Value {
    json!({
        "securitySchemes": {
            "apiKeyAuth": {
                "type": "apiKey",
                "in": "header",
                "name": "Authorization",
                "description": "Fal Key: `Key ID:SECRET`. Needed as soon as a key was made on this server.",
            },
        },
        "schemas": schemas,
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{ENDPOINTS, find};

    fn places() -> Places {
        Places { run: "http://h/run".into(), queue: "http://h/queue".into(), pages: "http://h".into() }
    }

    /// Every object in a document, with its place.
    fn objects<'a>(value: &'a Value, place: &str, found: &mut Vec<(String, &'a Map<String, Value>)>) {
        match value {
            Value::Object(fields) => {
                found.push((place.to_owned(), fields));
                for (name, value) in fields {
                    objects(value, &format!("{place}/{name}"), found);
                }
            }
            Value::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    objects(item, &format!("{place}/{n}"), found);
                }
            }
            _ => {}
        }
    }

    fn documents() -> Vec<(String, Value)> {
        let of = |endpoint: &Endpoint| {
            [Edition::V3_0, Edition::V3_1].map(|edition| {
                (format!("{} {}", endpoint.id, edition.version()), openapi(endpoint, &places(), edition))
            })
        };
        let whole = ("the server".to_owned(), openapi_of_server(&places()));
        ENDPOINTS.iter().flat_map(of).chain([whole]).collect()
    }

    #[test]
    fn every_reference_leads_somewhere() {
        for (name, document) in documents() {
            let mut found = Vec::new();
            objects(&document, "", &mut found);
            let references: Vec<&str> = found.iter().filter_map(|(_, fields)| fields.get("$ref")?.as_str()).collect();
            assert!(references.len() >= 5, "{name}");
            for reference in references {
                assert!(document.pointer(&reference[1..]).is_some(), "{name}: {reference}");
            }
        }
    }

    #[test]
    fn every_call_has_a_name_of_its_own_and_tells_its_errors() {
        for (document_name, document) in documents() {
            let mut names = HashSet::new();
            for (path, methods) in document["paths"].as_object().expect("paths") {
                for (method, call) in methods.as_object().expect("methods") {
                    let name = call["operationId"].as_str().unwrap_or_default();
                    assert!(
                        !name.is_empty() && names.insert(name.to_owned()),
                        "{document_name}: {method} {path} {name}"
                    );
                    let answers = call["responses"].as_object().expect("answers");
                    assert!(answers.contains_key("200"), "{document_name}: {method} {path}");
                    let needs_key = call.get("security") != Some(&json!([]));
                    assert_eq!(answers.contains_key("401"), needs_key, "{document_name}: {method} {path}");
                    let guarded = !["/health", "/ready"].contains(&path.as_str());
                    assert_eq!(answers.contains_key("403"), guarded, "{document_name}: {method} {path}");
                }
            }
        }
        let document = openapi(&ENDPOINTS[0], &places(), Edition::V3_0);
        let id = ENDPOINTS[0].id;
        let answers = |path: &str, method: &str| -> Vec<String> {
            let answers = document["paths"][&format!("/{id}{path}")][method]["responses"].as_object();
            answers.expect("answers").keys().cloned().collect()
        };
        assert_eq!(answers("", "post"), ["200", "401", "403", "404", "413", "422", "429", "503"]);
        assert_eq!(answers("/requests/{request_id}/status", "get"), ["200", "202", "401", "403", "404"]);
    }

    /// Makers of clients take a default for a value of the schema it stands in; an object never is one where a word
    /// could stand too.
    #[test]
    fn defaults_are_values_that_their_own_schema_allows() {
        for (name, document) in documents() {
            let mut found = Vec::new();
            objects(&document, "", &mut found);
            for (place, schema) in found.iter().filter(|(_, fields)| fields.contains_key("default")) {
                let default = &schema["default"];
                if !place.contains("/properties/") {
                    continue;
                }
                let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
                let words = alternatives.filter_map(|schema| schema.get("enum")).chain(schema.get("enum"));
                let words: Vec<&Value> = words.filter_map(Value::as_array).flatten().collect();
                assert!(!default.is_object(), "{name}: {place}");
                assert!(words.is_empty() || words.contains(&default), "{name}: {place}: {default}");
            }
        }
    }

    #[test]
    fn inputs_are_described_in_page_order_with_every_default() {
        let dev = find("fal-ai/flux/dev").expect("it is in the table");
        let document = openapi(dev, &places(), Edition::V3_0);
        let input = &document["components"]["schemas"]["FalAiFluxDevInput"];
        let names: Vec<&str> = dev.fields().iter().map(|f| f.name).collect();
        assert_eq!(input["x-fal-order-properties"], json!(names));
        assert_eq!(input["required"], json!(["prompt"]));
        assert_eq!(input["properties"]["sync_mode"]["default"], false);
        assert_eq!(input["properties"]["num_inference_steps"]["maximum"], 50);
        assert_eq!(document["paths"]["/fal-ai/flux/dev"]["post"]["requestBody"]["required"], true);
    }

    #[test]
    fn the_servers_document_has_every_endpoint_and_names_each_object_once() {
        let document = openapi_of_server(&places());
        for endpoint in ENDPOINTS {
            for path in [format!("/run/{}", endpoint.id), format!("/queue/{}", endpoint.id)] {
                let body = &document["paths"][&path]["post"]["requestBody"]["content"]["application/json"]["schema"];
                let input = document.pointer(&body["$ref"].as_str().expect("a reference")[1..]).expect("a schema");
                let names: Vec<&str> = endpoint.fields().iter().map(|f| f.name).collect();
                assert_eq!(input["x-fal-order-properties"], json!(names), "{path}");
            }
        }
        for (path, method) in [
            ("/run/fal-ai/flux/dev/stream", "post"),
            ("/queue/fal-ai/flux/dev/requests/{request_id}/status/stream", "get"),
        ] {
            let events = &document["paths"][path][method]["responses"]["200"]["content"];
            assert!(events.get("text/event-stream").is_some(), "{path}: {events}");
        }
        // AuraFlow's picture has more fields than FLUX's: two schemas
        let of = |id: &str| {
            let output = &document["components"]["schemas"][format!("{}Output", schema::pascal(id))];
            output["properties"]["images"]["items"]["$ref"].clone()
        };
        assert_ne!(of("fal-ai/aura-flow"), of("fal-ai/flux/dev"));
        assert_eq!(of("fal-ai/flux/schnell"), of("fal-ai/flux/dev"));
    }
}
