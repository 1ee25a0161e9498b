//! The OpenAPI document of the whole server: every endpoint directly and by the queue, and what stands beside them.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::calls::{self, Answer, JSON, Operation};
use super::{Edition, common, components, schema, security};
use crate::endpoint::Endpoint;
use crate::endpoints::ENDPOINTS;
use crate::faces::Places;

const EDITION: Edition = Edition::V3_0;

/// Describes this server.
pub fn openapi_of_server(places: &Places) -> Value {
    let (mut schemas, mut paths) = (common::schemas(EDITION), beside());
    schemas.extend(own_schemas());
    for endpoint in ENDPOINTS {
        let suffix = format!("_{}", word(endpoint.id));
        let mut calls = calls::queue(endpoint, "/queue", &suffix);
        let id = endpoint.id;
        let follow = format!("/queue/{id}/requests/{{request_id}}/status/stream");
        calls[format!("/run/{id}")] = calls::run(endpoint, &suffix);
        calls[format!("/run/{id}/stream")] = calls::stream(endpoint, &suffix);
        calls[follow] = calls::status_stream(endpoint, &suffix);
        take_in(endpoint, &mut calls, &mut schemas);
        if let Value::Object(calls) = calls {
            paths.extend(calls);
        }
    }
    let tags = ["files", "openai", "server"].into_iter().chain(ENDPOINTS.iter().map(|e| e.id));
    json!({
        "openapi": EDITION.version(),
        "info": {
            "title": "Scumble",
            "version": "1.0.0",
            "description": "A self-hosted image-generation server that speaks fal's Model API. Streams are server-sent \
                            events: of a call at its path with `/stream` behind it, of a request's status likewise, and \
                            of a call in OpenAI's words where that says `stream: true`.",
        },
        "servers": [{ "url": places.pages }],
        "security": security(),
        "tags": tags.map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        "components": components(&schemas),
        "paths": paths,
    })
}

/// `fal-ai/flux/dev` as a part of a name in programs.
fn word(id: &str) -> String {
    id.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

/// Adds the schemas of an endpoint. Two endpoints may mean different objects by one name, `Image` for example; the
/// second gets its endpoint's name before its own.
fn take_in(endpoint: &Endpoint, calls: &mut Value, schemas: &mut Map<String, Value>) {
    let mut own = schema::components(endpoint, EDITION);
    loop {
        let differs = |(name, schema): &(&String, &Value)| schemas.get(*name).is_some_and(|known| known != *schema);
        let Some(name) = own.iter().find(differs).map(|(name, _)| name.clone()) else { break };
        let new = schema::pascal(endpoint.id) + &name;
        let renamed = own.into_iter().map(|(n, schema)| if n == name { (new.clone(), schema) } else { (n, schema) });
        own = renamed.collect();
        let names = HashMap::from([(reference_to(&name), reference_to(&new))]);
        own.values_mut().for_each(|schema| rename(schema, &names));
        if let Some(schema) = own.get_mut(&new) {
            schema["title"] = new.into();
        }
        rename(calls, &names);
    }
    schemas.extend(own);
}

fn reference_to(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

/// Points every reference to where its object is now.
fn rename(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "$ref" => {
                        if let Some(new) = names.get(text) {
                            text.clone_from(new);
                        }
                    }
                    other => rename(other, names),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

/// What is no endpoint.
fn beside() -> Map<String, Value> {
    let no_key: Answer<'static> = (401, "A key is needed here, and none or a wrong one came.", "Error");
    let call = |id: &str, summary, tag, answers: &[Answer<'static>]| Operation {
        id: id.to_owned(),
        summary,
        tag: Some(tag),
        parameters: Vec::new(),
        body: None,
        answers: answers.to_vec(),
    };
    let open = |mut call: Value| {
        call["security"] = json!([]);
        call
    };
    let upload = Operation {
        body: Some((JSON, super::reference("InitiateUpload"))),
        ..call(
            "initiate_upload",
            "Where to send a file (by PUT), and where it will be.",
            "files",
            &[(200, "The two addresses.", "InitiatedUpload"), no_key, calls::NOT_FROM_THERE],
        )
    };
    let openai = |id: &str, summary, body| Operation {
        body: Some(body),
        ..call(
            id,
            summary,
            "openai",
            &[
                (200, "What was made.", "OpenAiImages"),
                (400, "The call has a problem.", "OpenAiError"),
                (401, "A key is needed here, and none or a wrong one came.", "OpenAiError"),
                theirs(calls::NOT_FROM_THERE),
                (404, "There is no such model.", "OpenAiError"),
                (413, "The body is too large.", "OpenAiError"),
                (429, "Too many requests at once. Try again later.", "OpenAiError"),
            ],
        )
    };
    let form = |schema: &str| ("multipart/form-data", super::reference(schema));
    let generate = openai(
        "openai_generate",
        "Make pictures, in the words of OpenAI's image API.",
        (JSON, super::reference("OpenAiImageCall")),
    );
    let edit = openai("openai_edit", "Make pictures from others, in OpenAI's words.", form("OpenAiEdit"));
    let vary = openai("openai_variation", "Make variations of a picture, in OpenAI's words.", form("OpenAiVariation"));
    let models = Operation {
        parameters: vec![
            query("limit", &json!({ "type": "integer", "minimum": 1, "maximum": 100 }), "Entries of a page."),
            query("cursor", &json!({ "type": "string" }), "Where the page begins: the last answer's `next_cursor`."),
            query("q", &json!({ "type": "string" }), "Only those that have these words."),
        ],
        ..call(
            "list_models",
            "What can be called, page by page.",
            "server",
            &[(200, "A page.", "Catalogue"), theirs(calls::NOT_FROM_THERE)],
        )
    };
    let health = probe(&call("health", "Whether the server lives.", "server", &[]));
    let ready = call("ready", "Whether the server can take work.", "server", &[(503, "It cannot; why.", "Error")]);
    let ready = probe(&ready);
    let paths = [
        ("/rest/storage/upload/initiate", "post", upload.to_json()),
        ("/v1/images/generations", "post", generate.to_json()),
        ("/v1/images/edits", "post", edit.to_json()),
        ("/v1/images/variations", "post", vary.to_json()),
        ("/v1/models", "get", open(models.to_json())),
        ("/health", "get", open(health)),
        ("/ready", "get", open(ready)),
    ];
    paths.into_iter().map(|(path, method, call)| (path.to_owned(), json!({ method: call }))).collect()
}

/// An answer in OpenAI's envelope.
const fn theirs((status, text, _): Answer<'static>) -> Answer<'static> {
    (status, text, "OpenAiError")
}

/// A call that is answered with a word.
fn probe(call: &Operation<'_>) -> Value {
    let mut call = call.to_json();
    let word = json!({ "description": "Yes.", "content": { "text/plain": { "schema": { "type": "string" } } } });
    let mut answers = Map::from_iter([("200".to_owned(), word)]);
    if let Value::Object(others) = call["responses"].take() {
        answers.extend(others);
    }
    call["responses"] = answers.into();
    call
}

fn query(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

/// The schemas of what is no endpoint.
fn own_schemas() -> Map<String, Value> {
    let text = |what: &str| json!({ "type": "string", "description": what });
    let object = |properties: Value, required: &[&str]| {
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": true });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    };
    let anything = || json!({ "type": "object", "additionalProperties": true });
    let file = |what: &str| json!({ "type": "string", "format": "binary", "description": what });
    let words = || {
        json!({
            "model": text("The id of an endpoint, such as scumble/starter, or a name that stands for one."),
            "prompt": text("What the picture shows."),
            "n": { "type": "integer", "minimum": 1, "maximum": 10, "description": "How many pictures." },
            "size": text("`auto`, or pixels such as 1024x768."),
            "stream": {
                "type": "boolean",
                "description": "Whether the answer is server-sent events: partial pictures, then the finished ones.",
            },
            "partial_images": { "type": "integer", "minimum": 0, "maximum": 3, "description": "How many, in a stream." },
            "response_format": { "type": "string", "enum": ["url", "b64_json"] },
            "output_format": text("The file format of the pictures."),
        })
    };
    let mut edit = words();
    edit["image"] =
        json!({ "type": "array", "description": "The pictures to start from.", "items": file("A picture.") });
    edit["mask"] = file("Where its alpha is 0, the picture is painted anew.");
    let mut vary = words();
    vary["image"] = file("The picture to start from.");
    let picture = object(json!({ "url": text("Where the picture is."), "b64_json": text("The picture itself.") }), &[]);
    let schemas = [
        (
            "InitiateUpload",
            object(
                json!({ "file_name": text("What its owner calls it."), "content_type": text("Its content type.") }),
                &[],
            ),
        ),
        (
            "InitiatedUpload",
            object(
                json!({ "upload_url": text("Takes the bytes."), "file_url": text("Gives them back.") }),
                &["upload_url", "file_url"],
            ),
        ),
        ("OpenAiImageCall", object(words(), &["prompt"])),
        ("OpenAiEdit", object(edit, &["image", "prompt"])),
        ("OpenAiVariation", object(vary, &["image"])),
        ("OpenAiImage", picture),
        (
            "OpenAiImages",
            object(
                json!({
                    "created": { "type": "integer", "description": "When, in seconds since 1970." },
                    "data": { "type": "array", "items": super::reference("OpenAiImage") },
                }),
                &["created", "data"],
            ),
        ),
        (
            "OpenAiError",
            object(
                json!({
                    "error": object(
                        json!({ "message": text("What is wrong, and what to do."), "type": text("For programs.") }),
                        &["message"],
                    ),
                }),
                &["error"],
            ),
        ),
        ("Catalogue", object(json!({ "models": { "type": "array", "items": anything() } }), &["models"])),
    ];
    schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
