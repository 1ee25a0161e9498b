//! The OpenAPI document of one endpoint, in the form of fal's own (protocol 10.3).

use serde_json::{Map, Value, json};

use super::{Places, schema};
use crate::endpoint::Endpoint;

/// The edition of OpenAPI that a document says it follows; what these documents use is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// 3.0.4, which fal publishes.
    V3_0,
    /// 3.1.0.
    V3_1,
}

/// Describes submit, status, cancel and result of an endpoint.
pub fn openapi(endpoint: &Endpoint, places: &Places, edition: Edition) -> Value {
    let (id, pages) = (endpoint.id, &places.pages);
    let mut schemas = Map::from_iter([("QueueStatus".to_owned(), queue_status())]);
    schemas.extend(schema::components(endpoint));
    json!({
        "openapi": match edition {
            Edition::V3_0 => "3.0.4",
            Edition::V3_1 => "3.1.0",
        },
        "info": {
            "title": format!("Queue OpenAPI for {id}"),
            "version": "1.0.0",
            "description": format!("The OpenAPI schema for the {id} queue."),
            "x-fal-metadata": {
                "endpointId": id,
                "category": endpoint.category(),
                "thumbnailUrl": "",
                "playgroundUrl": format!("{pages}/models/{id}"),
                "documentationUrl": format!("{pages}/models/{id}/llms.txt"),
            },
        },
        "servers": [{ "url": places.queue }],
        "security": [{ "apiKeyAuth": [] }],
        "components": {
            "securitySchemes": {
                "apiKeyAuth": { "type": "apiKey", "in": "header", "name": "Authorization", "description": "Fal Key" },
            },
            "schemas": schemas,
        },
        "paths": paths(id, &schema::input_name(endpoint), &schema::output_name(endpoint)),
    })
}

/// The full id stands in front of `/requests/`: generated clients use that form.
fn paths(id: &str, input: &str, output: &str) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let body = |schema: Value| json!({ "application/json": { "schema": schema } });
    let answer = |text: &str, schema: Value| json!({ "200": { "description": text, "content": body(schema) } });
    let request_id = json!({
        "name": "request_id", "in": "path", "required": true, "schema": { "type": "string", "description": "Request ID" },
    });
    let logs = json!({
        "name": "logs", "in": "query", "required": false,
        "schema": { "type": "number", "description": "Whether to include logs (`1`) in the response or not (`0`)." },
    });
    let done = json!({
        "type": "object",
        "properties": { "success": { "type": "boolean", "description": "Whether the request was cancelled." } },
    });
    json!({
        format!("/{id}/requests/{{request_id}}/status"): {
            "get": { "parameters": [request_id, logs], "responses": answer("The request status.", reference("QueueStatus")) },
        },
        format!("/{id}/requests/{{request_id}}/cancel"): {
            "put": { "parameters": [request_id], "responses": answer("The request was cancelled.", done) },
        },
        format!("/{id}"): {
            "post": {
                "requestBody": { "required": true, "content": body(reference(input)) },
                "responses": answer("The request status.", reference("QueueStatus")),
            },
        },
        format!("/{id}/requests/{{request_id}}"): {
            "get": { "parameters": [request_id], "responses": answer("Result of the request.", reference(output)) },
        },
    })
}

fn queue_status() -> Value {
    let text = |what: &str| json!({ "type": "string", "description": what });
    json!({
        "type": "object",
        "properties": {
            "status": { "type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"] },
            "request_id": text("The request id."),
            "response_url": text("The response url."),
            "status_url": text("The status url."),
            "cancel_url": text("The cancel url."),
            "logs": { "type": "object", "description": "The logs.", "additionalProperties": true },
            "metrics": { "type": "object", "description": "The metrics.", "additionalProperties": true },
            "queue_position": { "type": "integer", "description": "The queue position." },
        },
        "required": ["status", "request_id"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ENDPOINTS, find};

    fn places() -> Places {
        Places { run: "http://h/run".into(), queue: "http://h/queue".into(), pages: "http://h".into() }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(fields) => {
                    for (name, value) in fields {
                        match value.as_str().filter(|_| name == "$ref") {
                            Some(reference) => found.push(reference),
                            None => references(value, found),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        for endpoint in ENDPOINTS {
            let document = openapi(endpoint, &places(), Edition::V3_1);
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(found.len() >= 5, "{}", endpoint.id);
            for reference in found {
                assert!(document.pointer(&reference[1..]).is_some(), "{}: {reference}", endpoint.id);
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
}
