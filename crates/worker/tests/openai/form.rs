//! Forms as OpenAI's clients send them.

use reqwest::{Method, RequestBuilder};
use scumble_testkit::server::TestServer;

const BOUNDARY: &str = "----a-boundary-that-is-in-no-picture";

/// A form, part by part.
#[derive(Default)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    pub(crate) fn new(fields: &[(&str, &str)]) -> Self {
        fields.iter().fold(Self::default(), |form, (name, text)| form.text(name, text))
    }

    pub(crate) fn text(mut self, name: &str, text: &str) -> Self {
        let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n");
        self.0.extend_from_slice(part.as_bytes());
        self
    }

    pub(crate) fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"p.png\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn sent(mut self, server: &TestServer, path: &str) -> RequestBuilder {
        self.0.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.unfinished(server, path)
    }

    /// Without its end.
    pub(crate) fn unfinished(self, server: &TestServer, path: &str) -> RequestBuilder {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        server.request(Method::POST, path).header("content-type", kind).body(self.0)
    }
}
