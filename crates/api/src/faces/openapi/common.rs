//! Schemas that all calls share: how a request stands, and what goes wrong.

use serde_json::{Map, Value, json};

use super::{Edition, reference};

/// Every one of them, by name.
pub(super) fn schemas(edition: Edition) -> Map<String, Value> {
    let named = [
        ("QueueStatus", queue_status(edition)),
        ("LogLine", log_line()),
        ("Cancellation", cancellation()),
        ("Error", error()),
        ("HTTPValidationError", validation_errors()),
        ("ValidationError", validation_error()),
    ];
    named.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn text(what: &str) -> Value {
    json!({ "type": "string", "description": what })
}

fn queue_status(edition: Edition) -> Value {
    let logs = json!({
        "type": "array",
        "description": "The lines of the log so far if they were asked for, else null.",
        "items": reference("LogLine"),
    });
    json!({
        "type": "object",
        "properties": {
            "status": { "type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"] },
            "request_id": text("The request id."),
            "response_url": text("The response url."),
            "status_url": text("The status url."),
            "cancel_url": text("The cancel url."),
            "logs": edition.nullable(logs),
            "metrics": {
                "type": "object",
                "description": "The metrics.",
                "properties": {
                    "inference_time": { "type": "number", "description": "Seconds that the model ran." },
                },
                "additionalProperties": true,
            },
            "queue_position": { "type": "integer", "description": "The queue position, while it waits." },
            "error": text("What went wrong, where something did."),
            "error_type": text("The same for programs."),
        },
        "required": ["status", "request_id", "response_url", "status_url", "cancel_url"],
    })
}

fn log_line() -> Value {
    json!({
        "type": "object",
        "properties": {
            "message": text("The text."),
            "level": text("INFO, WARN or ERROR."),
            "source": text("Always USER."),
            "timestamp": text("When, in ISO 8601."),
        },
        "required": ["message", "level", "source", "timestamp"],
    })
}

fn cancellation() -> Value {
    let words = ["OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED", "NOT_FOUND"];
    json!({
        "type": "object",
        "properties": { "status": { "type": "string", "enum": words, "description": "What became of the request." } },
        "required": ["status"],
    })
}

/// What is answered before and around a model.
fn error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "detail": {
                "description": "What is wrong, and what to do. A model that was asked far away answers with a list.",
                "anyOf": [{ "type": "string" }, { "type": "array", "items": reference("ValidationError") }],
            },
            "error_type": text("The same for programs, such as bad_request."),
        },
        "required": ["detail"],
    })
}

fn validation_errors() -> Value {
    json!({
        "type": "object",
        "properties": {
            "detail": {
                "type": "array",
                "description": "Everything that is wrong with the input.",
                "items": reference("ValidationError"),
            },
        },
        "required": ["detail"],
    })
}

fn validation_error() -> Value {
    json!({
        "type": "object",
        "properties": {
            "loc": {
                "type": "array",
                "description": "Where: `body`, then names of fields and places in lists.",
                "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
            },
            "msg": text("What is wrong."),
            "type": text("The same for programs, such as `missing`."),
            "url": text("Where this type is explained."),
            "ctx": { "type": "object", "description": "The limits that were broken.", "additionalProperties": true },
            "input": { "description": "What was given." },
        },
        "required": ["loc", "msg", "type"],
    })
}
