//! Ids as callers write them.

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
            // what is one segment so is two now, and has to do as such
            let old_form = !owner.is_empty() && owner.bytes().all(|b| b.is_ascii_digit());
            return Self::parse(&format!("{owner}/{app}")).filter(|_| old_form);
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
        for bad in ["", "x", "a//b", "a/../b", "a/b c", "workflows/me", "a/\u{e9}", "my-app", "8-..", "8-", "-8"] {
            check(bad, None, "");
        }
    }
}
