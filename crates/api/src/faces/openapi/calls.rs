//! The calls of an endpoint: queue and direct.

use serde_json::{Map, Value, json};

use super::{reference, schema};
use crate::endpoint::Endpoint;

/// What a call may answer: status, in words, the name of its schema.
pub(super) type Answer<'a> = (u16, &'a str, &'a str);

pub(super) const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const NO_KEY: Answer<'_> = (401, "A key is needed here, and none or a wrong one came.", "Error");
/// What the guard of a server without keys answers; a key makes it go away.
pub(super) const NOT_FROM_THERE: Answer<'_> =
    (403, "No key was made yet, and this comes from another machine or from a page of another site.", "Error");
const NO_REQUEST: Answer<'_> = (404, "There is no such request.", "Error");
const INVALID: Answer<'_> = (422, "The input has problems: all of them, each with its place.", "HTTPValidationError");
const BUSY: Answer<'_> = (503, "The server cannot take it now. Try again later.", "Error");
const ADVICE: Answer<'_> = (400, "Nothing can answer this here; the text says what is missing.", "Error");
/// What every call with an input may answer.
const REFUSALS: [Answer<'_>; 7] = [
    NO_KEY,
    NOT_FROM_THERE,
    (404, "There is no such endpoint.", "Error"),
    (413, "The body is too large.", "Error"),
    INVALID,
    (429, "Too many requests at once. Try again later.", "Error"),
    BUSY,
];

/// One call of a document.
pub(super) struct Operation<'a> {
    /// Its name in programs; no other call of the document has it.
    pub(super) id: String,
    pub(super) summary: &'a str,
    /// Which of several groups of a large document it is in.
    pub(super) tag: Option<&'a str>,
    pub(super) parameters: Vec<Value>,
    /// The schema of what is sent, and as what.
    pub(super) body: Option<(&'a str, Value)>,
    pub(super) answers: Vec<Answer<'a>>,
}

impl Operation<'_> {
    pub(super) fn to_json(&self) -> Value {
        let mut call = json!({ "operationId": self.id, "summary": self.summary });
        if let Some(tag) = self.tag {
            call["tags"] = json!([tag]);
        }
        if !self.parameters.is_empty() {
            call["parameters"] = json!(self.parameters);
        }
        if let Some((media, schema)) = &self.body {
            call["requestBody"] = json!({ "required": true, "content": { *media: { "schema": schema } } });
        }
        let answer = |(status, text, schema): &Answer<'_>| {
            (status.to_string(), json!({ "description": text, "content": { JSON: { "schema": reference(schema) } } }))
        };
        call["responses"] = self.answers.iter().map(answer).collect::<Map<_, _>>().into();
        call
    }
}

/// Submit, status, cancel and result. `prefix` stands before the paths; `suffix` behind the names of the calls, for a
/// document with several endpoints. The full id stands in front of `/requests/`: generated clients use that form.
pub(super) fn queue(endpoint: &Endpoint, prefix: &str, suffix: &str) -> Value {
    let id = endpoint.id;
    let tag = (!suffix.is_empty()).then_some(id);
    let output = schema::output_name(endpoint);
    let request = json!({
        "name": "request_id", "in": "path", "required": true, "schema": { "type": "string", "description": "Request ID" },
    });
    let logs = json!({
        "name": "logs", "in": "query", "required": false,
        "schema": { "type": "number", "description": "Whether to include logs (`1`) in the response or not (`0`)." },
    });
    let call = |name: &str, summary, parameters| Operation {
        id: format!("{name}{suffix}"),
        summary,
        tag,
        parameters,
        body: None,
        answers: Vec::new(),
    };
    let status = [
        (200, "The request has ended, however.", "QueueStatus"),
        (202, "The request waits or runs.", "QueueStatus"),
        NO_KEY,
        NOT_FROM_THERE,
        NO_REQUEST,
    ];
    let cancel = [
        (200, "The request was cancelled before it ran.", "Cancellation"),
        (202, "The request runs, and will stop.", "Cancellation"),
        (400, "The request has ended already.", "Cancellation"),
        NO_KEY,
        NOT_FROM_THERE,
        (404, "There is no such request.", "Cancellation"),
    ];
    let submit = [&[(200, "The request is in the queue.", "QueueStatus")][..], &REFUSALS].concat();
    let result = [
        (200, "Result of the request.", output.as_str()),
        (400, "The request has not ended, or cannot be answered here.", "Error"),
        NO_KEY,
        NOT_FROM_THERE,
        NO_REQUEST,
        INVALID,
        (500, "The model failed.", "Error"),
        BUSY,
        (504, "The request did not start in the time that it was given.", "Error"),
    ];
    let body = Some((JSON, reference(&schema::input_name(endpoint))));
    let submit = Operation { body, answers: submit, ..call("submit", "Put a request into the queue.", Vec::new()) };
    let status =
        Operation { answers: status.to_vec(), ..call("status", "How a request stands.", vec![request.clone(), logs]) };
    let cancel = Operation { answers: cancel.to_vec(), ..call("cancel", "Cancel a request.", vec![request.clone()]) };
    let result = Operation { answers: result.to_vec(), ..call("result", "What a request has made.", vec![request]) };
    json!({
        format!("{prefix}/{id}/requests/{{request_id}}/status"): { "get": status.to_json() },
        format!("{prefix}/{id}/requests/{{request_id}}/cancel"): { "put": cancel.to_json() },
        format!("{prefix}/{id}"): { "post": submit.to_json() },
        format!("{prefix}/{id}/requests/{{request_id}}"): { "get": result.to_json() },
    })
}

/// A direct call: its answer is the output.
pub(super) fn run(endpoint: &Endpoint, suffix: &str) -> Value {
    let output = schema::output_name(endpoint);
    let made = (200, "What was made.", output.as_str());
    let failed = [
        (500, "The model failed.", "Error"),
        (504, "The request did not start in the time that it was given.", "Error"),
    ];
    let mut answers = [&[made, ADVICE][..], &REFUSALS, &failed].concat();
    answers.sort_by_key(|(status, ..)| *status);
    let call = Operation {
        id: format!("run{suffix}"),
        summary: "Make pictures, and wait for them.",
        tag: Some(endpoint.id),
        parameters: Vec::new(),
        body: Some((JSON, reference(&schema::input_name(endpoint)))),
        answers,
    };
    json!({ "post": call.to_json() })
}

/// The same call as a stream: every event has the shape of the output, with previews in the place of pictures, and the
/// last one is the output.
pub(super) fn stream(endpoint: &Endpoint, suffix: &str) -> Value {
    let call = Operation {
        id: format!("stream{suffix}"),
        summary: "Make pictures, and follow how they come into being.",
        tag: Some(endpoint.id),
        parameters: Vec::new(),
        body: Some((JSON, reference(&schema::input_name(endpoint)))),
        answers: [&[ADVICE][..], &REFUSALS].concat(),
    };
    let event = "Server-sent events: pictures as they are so far, and at last the output. An error is an event too.";
    json!({ "post": with_events(call.to_json(), event) })
}

/// How a request stands, as a stream that ends with the request.
pub(super) fn status_stream(endpoint: &Endpoint, suffix: &str) -> Value {
    let text = json!({ "type": "string", "description": "Request ID" });
    let call = Operation {
        id: format!("status_stream{suffix}"),
        summary: "Follow how a request stands.",
        tag: Some(endpoint.id),
        parameters: vec![json!({ "name": "request_id", "in": "path", "required": true, "schema": text })],
        body: None,
        answers: vec![NO_KEY, NOT_FROM_THERE, NO_REQUEST],
    };
    let event = "Server-sent events: a `QueueStatus` at once and after each change; the last one says COMPLETED.";
    json!({ "get": with_events(call.to_json(), event) })
}

/// A call whose success is a stream of events.
fn with_events(mut call: Value, what: &str) -> Value {
    let events = json!({ "description": what, "content": { EVENTS: { "schema": { "type": "string" } } } });
    let mut answers = Map::from_iter([("200".to_owned(), events)]);
    if let Value::Object(others) = call["responses"].take() {
        answers.extend(others);
    }
    call["responses"] = answers.into();
    call
}
