//! How long a file lives and who may read it: fal's `X-Fal-Object-Lifecycle` and its `…-Preference`.
//!
//! A header that cannot be read is refused and never ignored: it would make public what somebody wanted hidden.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Problem;

/// Longest life that can be asked for, in seconds: a hundred years. `null` is for ever.
const SECONDS_MAX: u64 = 100 * 365 * 24 * 60 * 60;

/// Most rules, because they travel in URLs.
const RULES_MAX: usize = 32;

/// Longest name of a user, in bytes.
const USER_LENGTH_MAX: usize = 128;

/// What becomes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Seconds until it is gone; `None` keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_duration_seconds: Option<u64>,
    /// Who may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_acl: Option<Acl>,
}

/// Who may read a file. Its owner always may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acl {
    /// For everybody whom no rule names.
    #[serde(default)]
    pub default: AclDecision,
    /// For some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<AclRule>,
}

/// What holds for one reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclRule {
    /// The id of a key.
    pub user: String,
    /// What holds for it.
    pub decision: AclDecision,
}

/// Whether a reader gets a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AclDecision {
    /// Gets it.
    #[default]
    Allow,
    /// Is told that it is not for them.
    Forbid,
    /// Is told that there is no such file.
    Hide,
}

impl Lifecycle {
    /// Reads the value of the header. Fields that fal may add are left alone; within the access list every word counts.
    ///
    /// # Errors
    /// What is wrong, at `header.x-fal-object-lifecycle`.
    pub fn parse(header: &str) -> Result<Self, Problem> {
        let value: Value = serde_json::from_str(header).map_err(|e| problem(format!("It is not JSON: {e}")))?;
        Self::from_value(&value)
    }

    /// Reads what [`Lifecycle::parse`] read before, from where it was kept.
    ///
    /// # Errors
    /// As for [`Lifecycle::parse`].
    pub fn from_value(value: &Value) -> Result<Self, Problem> {
        let Value::Object(fields) = value else { return Err(problem("It must be a JSON object".into())) };
        let expiration_duration_seconds = match fields.get("expiration_duration_seconds") {
            None | Some(Value::Null) => None,
            Some(seconds) => Some(parse_seconds(seconds)?),
        };
        let initial_acl = match fields.get("initial_acl") {
            None | Some(Value::Null) => None,
            Some(acl) => Some(parse_acl(acl)?),
        };
        Ok(Self { expiration_duration_seconds, initial_acl })
    }

    /// When a file that is made now is gone, both in milliseconds.
    pub fn expires_ms(&self, now_ms: i64) -> Option<i64> {
        let seconds = i64::try_from(self.expiration_duration_seconds?).unwrap_or(i64::MAX);
        Some(now_ms.saturating_add(seconds.saturating_mul(1000)))
    }
}

/// Whole seconds, however they are written: some programs know only one kind of number.
fn parse_seconds(value: &Value) -> Result<u64, Problem> {
    let seconds = value.as_f64().filter(|s| s.fract() == 0.0 && (1.0..=SECONDS_MAX as f64).contains(s));
    seconds.map(|s| s as u64).ok_or_else(|| {
        problem(format!("expiration_duration_seconds must be null or whole seconds from 1 to {SECONDS_MAX}"))
    })
}

fn parse_acl(value: &Value) -> Result<Acl, Problem> {
    // an array would do for an object of which nothing is needed
    let rules = value["rules"].as_array().map_or(&[][..], Vec::as_slice);
    if !value.is_object() || !rules.iter().all(Value::is_object) {
        return Err(problem("initial_acl and each of its rules must be JSON objects".into()));
    }
    let acl: Acl = serde_json::from_value(value.clone()).map_err(|e| problem(format!("initial_acl: {e}")))?;
    if acl.rules.len() > RULES_MAX {
        return Err(problem(format!("initial_acl.rules: at most {RULES_MAX}, got {}", acl.rules.len())));
    }
    if acl.rules.iter().any(|rule| rule.user.is_empty() || rule.user.len() > USER_LENGTH_MAX) {
        return Err(problem(format!("initial_acl.rules: the name of a user has 1 to {USER_LENGTH_MAX} bytes")));
    }
    Ok(acl)
}

fn problem(msg: String) -> Problem {
    let mut problem = Problem::new(&[], "value_error", msg);
    problem.loc = vec!["header".into(), "x-fal-object-lifecycle".into()];
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_read() {
        let read = |text: &str| Lifecycle::parse(text).expect("a lifecycle");
        assert_eq!(read("{}"), Lifecycle::default());
        assert_eq!(read(r#"{"expiration_duration_seconds":null,"initial_acl":null,"later":1}"#), Lifecycle::default());
        let hour = read(r#"{"expiration_duration_seconds": 3600.0}"#);
        assert_eq!((hour.expires_ms(5), hour.initial_acl), (Some(3_600_005), None));
        let hidden = read(r#"{"initial_acl":{"default":"hide","rules":[{"user":"ann","decision":"allow"}]}}"#);
        let rule = AclRule { user: "ann".into(), decision: AclDecision::Allow };
        assert_eq!(hidden.initial_acl, Some(Acl { default: AclDecision::Hide, rules: vec![rule] }));
        assert_eq!(hidden.expires_ms(5), None);
        let kept = serde_json::to_value(&hidden).expect("JSON");
        assert_eq!(Lifecycle::from_value(&kept), Ok(hidden));
    }

    #[test]
    fn nothing_that_might_hide_a_file_is_ignored() {
        let rules = |n: usize| {
            let rules = vec![r#"{"user":"x","decision":"hide"}"#; n].join(",");
            format!(r#"{{"initial_acl":{{"rules":[{rules}]}}}}"#)
        };
        assert!(Lifecycle::parse(&rules(RULES_MAX)).is_ok());
        let long = format!(r#"{{"initial_acl":{{"rules":[{{"user":"{}","decision":"hide"}}]}}}}"#, "u".repeat(129));
        for (bad, why) in [
            ("", "not JSON"),
            ("forbid", "not JSON"),
            ("[]", "JSON object"),
            (r#"{"expiration_duration_seconds":0}"#, "whole seconds"),
            (r#"{"expiration_duration_seconds":-1}"#, "whole seconds"),
            (r#"{"expiration_duration_seconds":1.5}"#, "whole seconds"),
            (r#"{"expiration_duration_seconds":1e300}"#, "whole seconds"),
            (r#"{"expiration_duration_seconds":"60"}"#, "whole seconds"),
            (r#"{"initial_acl":"forbid"}"#, "initial_acl"),
            (r#"{"initial_acl":[]}"#, "JSON objects"),
            (r#"{"initial_acl":{"rules":[["x","hide"]]}}"#, "JSON objects"),
            (r#"{"initial_acl":{"rules":{}}}"#, "initial_acl"),
            (r#"{"initial_acl":{"default":"Forbid"}}"#, "initial_acl"),
            (r#"{"initial_acl":{"defualt":"forbid"}}"#, "initial_acl"),
            (r#"{"initial_acl":{"rules":[{"user":"","decision":"hide"}]}}"#, "1 to 128"),
            (r#"{"initial_acl":{"rules":[{"user":"x"}]}}"#, "initial_acl"),
            (&rules(RULES_MAX + 1), "at most 32"),
            (&long, "1 to 128"),
        ] {
            let problem = Lifecycle::parse(bad).expect_err(bad);
            assert!(problem.msg.contains(why), "{bad}: {}", problem.msg);
            assert_eq!(problem.loc, ["header", "x-fal-object-lifecycle"]);
        }
    }
}
