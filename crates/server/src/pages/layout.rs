//! What all pages have in common: the frame around them, their headers, and how they refuse.

use std::sync::OnceLock;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minijinja::{AutoEscape, Environment, Output, State};
use serde::Serialize;
use serde_json::Value;

use super::assets;
use super::visitor::Visitor;
use crate::addressing::Caller;
use crate::answer::Refusal;

/// Everything comes from here; pictures may also be data of the page itself. No frames, no inline scripts or styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src \
                      'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../web/templates/", $name)))),+]
    };
}

const TEMPLATES: &[(&str, &str)] = templates![
    "base.html",
    "docs.html",
    "document.html",
    "error.html",
    "field.html",
    "gallery.html",
    "history.html",
    "job.html",
    "jobs.html",
    "keys.html",
    "model.html",
    "parts.html",
    "sign-in.html",
];

/// What is only for who asked for it: no other site's scripts may read it, no cache may keep it.
#[derive(Clone, Copy)]
pub(super) struct Private;

/// Where this page is in the site, and who looks at it.
pub(super) struct Frame<'a> {
    pub(super) caller: &'a Caller,
    pub(super) visitor: Option<&'a Visitor>,
}

impl Frame<'_> {
    /// A template filled in, with the frame around it.
    pub(super) fn page(&self, template: &str, here: &str, content: &impl Serialize) -> Response {
        self.with_status(StatusCode::OK, template, here, content)
    }

    pub(super) fn with_status(
        &self,
        status: StatusCode,
        template: &str,
        here: &str,
        content: &impl Serialize,
    ) -> Response {
        let base = base(self.caller);
        let frame = minijinja::context! {
            base => base,
            assets => format!("{base}/assets/{}", assets::version()),
            here => here,
            signed_in => self.visitor.is_some_and(|visitor| visitor.key_id.is_some()),
            version => env!("CARGO_PKG_VERSION"),
            ..minijinja::Value::from_serialize(content)
        };
        match environment().get_template(template).and_then(|template| template.render(frame)) {
            Ok(text) => html(status, text),
            Err(error) => {
                tracing::error!(template, error = format!("{error:#}"), "a page cannot be made");
                let text = "The page cannot be made; the server's log says why.";
                private((StatusCode::INTERNAL_SERVER_ERROR, text).into_response())
            }
        }
    }

    /// A page that says why there is none.
    pub(super) fn refusal(&self, refusal: &Refusal) -> Response {
        let answer = refusal.answer();
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = match status {
            StatusCode::NOT_FOUND => "Not here",
            StatusCode::FORBIDDEN => "Not like this",
            status if status.is_server_error() => "Something is broken",
            _ => "This does not work",
        };
        let content = minijinja::context! { title => title, status => answer.status, message => answer.message() };
        self.with_status(status, "error.html", "", &content)
    }
}

/// The path in front of this server's own paths, without a slash at the end: empty but behind a proxy that adds one.
pub(super) fn base(caller: &Caller) -> String {
    caller.base()
}

/// A value for a `data-` attribute that scripts read.
pub(super) fn json_text(value: &Value) -> String {
    value.to_string()
}

fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_formatter(format);
        for (name, text) in TEMPLATES {
            if let Err(error) = environment.add_template(name, text) {
                tracing::error!(name, error = format!("{error:#}"), "a template cannot be read");
            }
        }
        environment
    })
}

/// Escapes what means something in HTML, in text and between double quotes, and nothing else: a path stays a path.
fn format(out: &mut Output<'_>, state: &State<'_, '_>, value: &minijinja::Value) -> Result<(), minijinja::Error> {
    let text = value.as_str().filter(|_| !value.is_safe() && state.auto_escape() == AutoEscape::Html);
    let Some(text) = text else { return minijinja::escape_formatter(out, state, value) };
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"']) {
        out.write_str(&rest[..at])?;
        out.write_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            _ => "&quot;",
        })?;
        rest = &rest[at + 1..];
    }
    Ok(out.write_str(rest)?)
}

fn html(status: StatusCode, text: String) -> Response {
    const HEADERS: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    private((status, HEADERS, text).into_response())
}

/// Marks an answer as only for who asked for it.
pub(super) fn private(mut response: Response) -> Response {
    response.extensions_mut().insert(Private);
    response
}

/// The API may be called from any site, pages may not: on a server without keys every site that somebody visits could
/// read their history. So the leave that all answers carry is taken from pages again.
pub(crate) fn keep_private(mut response: Response) -> Response {
    if response.extensions().get::<Private>().is_some() {
        let headers = response.headers_mut();
        let leave: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        for name in leave {
            headers.remove(name);
        }
        headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_can_be_read() {
        for (name, text) in TEMPLATES {
            assert!(environment().get_template(name).is_ok(), "{name}");
            // single quotes are not escaped
            assert!(!text.contains("='"), "{name} has an attribute in single quotes");
        }
    }
}
