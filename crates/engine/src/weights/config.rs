//! Configurations as people publish them: keys may be absent (a default applies), unknown keys are ignored.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// One JSON object of a checkpoint, which remembers its file for messages.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    values: serde_json::Map<String, Value>,
}

impl Config {
    /// Parses a configuration file.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is no JSON object.
    pub fn parse(path: PathBuf, bytes: &[u8]) -> Result<Self> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(values)) => Ok(Self { path, values }),
            Ok(_) => Err(Error::Damaged { path, reason: "it is JSON, but not an object".into() }),
            Err(e) => Err(Error::Damaged { path, reason: format!("it is not JSON: {e}") }),
        }
    }

    /// The file this came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A key's value; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|v| !v.is_null())
    }

    /// A text that must be there.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is absent or no text.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.get(key).and_then(Value::as_str).ok_or_else(|| self.bad(key, "text"))
    }

    /// A text with a default.
    pub fn text_or<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.get(key).and_then(Value::as_str).unwrap_or(default)
    }

    /// A size that must be there.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is absent, no whole number, or too large to be meant.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.size_opt(key)?.ok_or_else(|| self.bad(key, "a whole number"))
    }

    /// A size with a default.
    ///
    /// # Errors
    /// As [`Config::size`], for a value that is there.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.size_opt(key)?.unwrap_or(default))
    }

    /// A list of sizes with a default.
    ///
    /// # Errors
    /// As [`Config::size`], for each entry.
    pub fn sizes_or(&self, key: &str, default: &[usize]) -> Result<Vec<usize>> {
        let Some(value) = self.get(key) else { return Ok(default.to_vec()) };
        let list = value.as_array().ok_or_else(|| self.bad(key, "a list of whole numbers"))?;
        list.iter().map(|v| self.as_size(key, v)).collect()
    }

    /// A number with a default.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is there and no number.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.bad(key, "a number")),
        }
    }

    /// Three numbers, one for each channel, with a default.
    ///
    /// # Errors
    /// [`Error::Damaged`] where they are there and not three finite numbers.
    pub fn numbers_or(&self, key: &str, default: [f64; 3]) -> Result<[f64; 3]> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let list = value.as_array().map(|list| list.iter().filter_map(Value::as_f64).collect::<Vec<_>>());
        list.and_then(|list| list.try_into().ok()).ok_or_else(|| self.bad(key, "a list of three numbers"))
    }

    /// The object under a key, or the whole where there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is there and no object.
    pub fn inner(&self, key: &str) -> Result<Self> {
        match self.get(key) {
            None => Ok(self.clone()),
            Some(Value::Object(values)) => Ok(Self { path: self.path.clone(), values: values.clone() }),
            Some(_) => Err(self.bad(key, "an object")),
        }
    }

    /// A switch with a default.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is there and neither true nor false.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    /// Makes sure that sizes here are those of other components: key, value, what it has to be, and what that is.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for the first that differs.
    pub fn fits(&self, sizes: &[(&str, usize, usize, &str)]) -> Result<()> {
        match sizes.iter().find(|(_, value, expected, _)| value != expected) {
            Some((key, value, expected, what)) => Err(self.unsupported(key, value, &format!("{expected}, {what}"))),
            None => Ok(()),
        }
    }

    /// The error for a value that this engine cannot follow.
    #[expect(clippy::needless_pass_by_value, reason = "callers hand over numbers and literals")]
    pub fn unsupported(&self, key: &str, value: impl ToString, supported: &str) -> Error {
        Error::Unsupported {
            path: self.path.clone(),
            key: key.into(),
            value: value.to_string(),
            supported: supported.into(),
        }
    }

    fn size_opt(&self, key: &str) -> Result<Option<usize>> {
        self.get(key).map(|v| self.as_size(key, v)).transpose()
    }

    fn as_size(&self, key: &str, value: &Value) -> Result<usize> {
        // no dimension of a real model comes near this; it keeps products of sizes from overflowing
        let limit = 1 << 24;
        let size = value.as_u64().filter(|n| *n <= limit);
        size.map(|n| n as usize).ok_or_else(|| self.bad(key, "a whole number below 16777217"))
    }

    fn bad(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or_else(|| "nothing".to_owned(), ToString::to_string);
        Error::Damaged { path: self.path.clone(), reason: format!("{key} should be {expected}, found {found}") }
    }
}
