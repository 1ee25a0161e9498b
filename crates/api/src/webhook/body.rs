//! The body of a webhook.

use serde::Serialize;
use serde_json::Value;

/// What a receiver gets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WebhookBody {
    /// The request that ended.
    pub request_id: String,
    /// The same: a request that is tried again keeps its id here.
    pub gateway_request_id: String,
    /// How it ended.
    pub status: WebhookStatus,
    /// That it failed, where it did; what failed is in the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The body that the result call would give.
    pub payload: Value,
    /// Why there is no payload, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_error: Option<String>,
}

/// fal's two words for how a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WebhookStatus {
    /// With an output.
    Ok,
    /// With an error.
    Error,
}

impl WebhookBody {
    /// The body for a request whose result has this HTTP status; `payload` is its body, or why it cannot be given.
    pub fn new(request_id: &str, status: u16, payload: Result<Value, String>) -> Self {
        let failed = status >= 400;
        let (payload, payload_error) = match payload {
            Ok(payload) => (payload, None),
            Err(reason) => (Value::Null, Some(reason)),
        };
        Self {
            request_id: request_id.to_owned(),
            gateway_request_id: request_id.to_owned(),
            status: if failed { WebhookStatus::Error } else { WebhookStatus::Ok },
            error: failed.then(|| format!("Invalid status code: {status}")),
            payload,
            payload_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bodies_have_the_documented_forms() {
        let body = |status, payload| serde_json::to_value(WebhookBody::new("id", status, payload)).expect("JSON");
        assert_eq!(
            body(200, Ok(json!({ "images": [] }))),
            json!({ "request_id": "id", "gateway_request_id": "id", "status": "OK", "payload": { "images": [] } })
        );
        assert_eq!(
            body(422, Ok(json!({ "detail": [] }))),
            json!({ "request_id": "id", "gateway_request_id": "id", "status": "ERROR",
                    "error": "Invalid status code: 422", "payload": { "detail": [] } })
        );
        assert_eq!(
            body(200, Err("gone".into())),
            json!({ "request_id": "id", "gateway_request_id": "id", "status": "OK", "payload": null,
                    "payload_error": "gone" })
        );
    }
}
