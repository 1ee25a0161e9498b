//! What an endpoint is: an id, fields, and the family of models that can answer it.

use crate::error::Problem;
use crate::input::Input;

/// A row of the table of endpoints.
#[derive(Debug)]
pub struct Endpoint {
    /// Such as `fal-ai/flux/schnell`.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// What can answer.
    pub family: Family,
    /// The input's fields, in page order.
    pub fields: &'static [Field],
    /// A prompt worth trying.
    pub example: &'static str,
}

/// Which kind of model answers an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Our own small model, inside the binary.
    Starter,
    /// FLUX.1 schnell: no guidance, few steps.
    FluxSchnell,
    /// FLUX.1 dev: embedded guidance.
    FluxDev,
}

/// One field of an input.
#[derive(Debug)]
pub struct Field {
    /// Its name on the wire.
    pub name: &'static str,
    /// Type and limits.
    pub kind: Kind,
    /// What fills it when it is left out.
    pub fill: Fill,
    /// For people.
    pub help: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number within limits.
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A number within limits.
    Number {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// Yes or no.
    Boolean,
    /// One of several words, in page order.
    Choice(&'static [&'static str]),
    /// A preset's name, or an object with width and height.
    ImageSize {
        /// Least side in pixels.
        min: u32,
        /// Greatest side in pixels.
        max: u32,
        /// Greatest area in pixels.
        area: u64,
    },
    /// Any non-negative whole number up to 2⁶⁴ − 1.
    Seed,
}

/// What happens when a field is left out.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// That is an error.
    Required,
    /// It stays out.
    Nothing,
    /// A text, preset or choice.
    Text(&'static str),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Boolean(bool),
    /// A size in pixels, width first.
    Size(u32, u32),
}

/// From where a call comes, which decides how far it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Over HTTP: exactly the published fields.
    Wire,
    /// The owner's own command line: also what the engine can do beyond the page (any number of steps, a size
    /// everywhere, `max_sequence_length`).
    Local,
}

impl Endpoint {
    /// Checks a caller's JSON and fills every default.
    ///
    /// # Errors
    /// Every problem at once, as fal lists them.
    pub fn parse(&'static self, body: &serde_json::Value, scope: Scope) -> Result<Input, Vec<Problem>> {
        crate::validate::parse(self, body, scope)
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

/// The id of an endpoint as callers write it: `owner/app[/path…]`, or one level deeper in a namespace.
///
/// Exists only if it is well-formed; whether anything answers is another question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(String);

/// The first part of an id, by which requests are addressed: `fal-ai/flux` for `fal-ai/flux/dev`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppPath(String);

/// Namespaces whose apps have one more segment.
const NAMESPACES: [&str; 2] = ["workflows", "comfy"];

impl EndpointId {
    /// Reads an id; slashes at either end are forgiven, and so is the old form `123-app` for `123/app`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_matches('/');
        let segments: Vec<&str> = text.split('/').collect();
        let plain = |s: &&str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if text.len() > 200 || !segments.iter().all(plain) || segments.contains(&"..") {
            return None;
        }
        if segments.len() == 1 {
            let (owner, app) = text.split_once('-')?;
            let old_form = !owner.is_empty() && !app.is_empty() && owner.bytes().all(|b| b.is_ascii_digit());
            return old_form.then(|| Self(format!("{owner}/{app}")));
        }
        let least = if NAMESPACES.contains(&segments[0]) { 3 } else { 2 };
        (segments.len() >= least).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Owner and app, with the namespace where there is one.
    pub fn app_path(&self) -> AppPath {
        let count = if NAMESPACES.iter().any(|n| self.0.starts_with(&format!("{n}/"))) { 3 } else { 2 };
        AppPath(self.0.split('/').take(count).collect::<Vec<_>>().join("/"))
    }
}

impl AppPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for EndpointId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_once_at_the_edge() {
        let check = |text: &str, id: Option<&str>, app: &str| {
            let parsed = EndpointId::parse(text);
            assert_eq!(parsed.as_ref().map(EndpointId::as_str), id, "{text}");
            if let Some(parsed) = parsed {
                assert_eq!(parsed.app_path().as_str(), app);
            }
        };
        check("fal-ai/flux/dev", Some("fal-ai/flux/dev"), "fal-ai/flux");
        check("/scumble/starter/", Some("scumble/starter"), "scumble/starter");
        check("workflows/me/wf/x", Some("workflows/me/wf/x"), "workflows/me/wf");
        check("110602490-myapp", Some("110602490/myapp"), "110602490/myapp");
        for bad in ["", "x", "a//b", "a/../b", "a/b c", "workflows/me", "a/\u{e9}", "my-app"] {
            check(bad, None, "");
        }
    }
}
