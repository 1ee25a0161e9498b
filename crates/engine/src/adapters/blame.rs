//! An adapter's files are the caller's: what is wrong with them is told to the caller, without a path of this machine.

use std::path::Path;

use super::AdapterFiles;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::weights::Config;

/// Bytes of an adapter's configuration. Real ones have a few hundred.
const LONGEST_CONFIG: u64 = 1 << 20;
/// Characters of a message: files name tensors as they like.
const LONGEST_PROBLEM: usize = 600;

/// Where an adapter was named, and what it should be.
#[derive(Clone, Copy)]
pub(crate) struct Blame<'a> {
    /// Where in the call: such as `controlnet`, `path`.
    pub(crate) field: &'a [&'a str],
    /// As the caller named it.
    pub(crate) name: &'a str,
    /// What it should be: `a ControlNet of …`.
    pub(crate) what: &'a str,
}

impl Blame<'_> {
    /// The error for this adapter.
    pub(crate) fn problem(&self, problem: impl Into<String>) -> Error {
        let problem: String = problem.into();
        let printable = problem.chars().map(|c| if c.is_control() { ' ' } else { c });
        Error::Adapter {
            field: self.field.iter().map(|part| (*part).to_owned()).collect(),
            name: self.name.to_owned(),
            problem: printable.take(LONGEST_PROBLEM).collect(),
        }
    }

    /// What went wrong while its files were read. Errors that are about something else stay what they are.
    pub(crate) fn of(&self, error: Error) -> Error {
        let Self { what, .. } = self;
        match error {
            Error::Unreadable { path, reason } => self.problem(format!("{} cannot be read: {reason}", file(&path))),
            Error::Damaged { path, reason } => {
                self.problem(format!("{} is damaged, or is another kind of file: {reason}", file(&path)))
            }
            Error::Unsupported { path, key, value, supported } => {
                self.problem(format!("{}: {key} = {value} is not supported; supported: {supported}", file(&path)))
            }
            Error::MissingTensor { file: path, name } => {
                self.problem(format!("{} is not {what}: it has no tensor {name}", file(&path)))
            }
            Error::Misshapen { file: path, name, expected, got } => self.problem(format!(
                "{} does not fit: its tensor {name} has shape {got:?}, and {what} that fits this model has {expected:?}",
                file(&path),
            )),
            Error::ExtraTensors { file: path, count, first } => self.problem(format!(
                "{} is not {what}: it has {count} tensors too many, the first is {first}",
                file(&path),
            )),
            other => other,
        }
    }
}

/// What went wrong in a call: where numbers overflowed and it has adapters, those are the first to suspect, and they are the
/// caller's.
pub(crate) fn suspected(error: Error, call: &Call) -> Error {
    let Error::NotFinite { place, dtype } = &error else { return error };
    let loras = call.loras.iter().enumerate().filter(|(_, lora)| lora.scale != 0.0);
    let loras = loras.map(|(i, lora)| (vec!["loras".to_owned(), i.to_string(), "path".to_owned()], &lora.files.name));
    let path = |field: &str| vec![field.to_owned(), "path".to_owned()];
    let control = call.controlnet.iter().filter(|control| control.scale != 0.0);
    let control = control.map(|control| (path("controlnet"), &control.files.name));
    let picture = call.ip_adapter.iter().filter(|ip| ip.scale != 0.0);
    let picture = picture.map(|ip| (path("ip_adapter"), &ip.files.name));
    let suspects: Vec<_> = loras.chain(control).chain(picture).collect();
    let Some((field, name)) = suspects.first() else { return error };
    let others: Vec<&str> = suspects.iter().skip(1).map(|(_, name)| name.as_str()).collect();
    let with = if others.is_empty() { "with it".to_owned() } else { format!("with it and {}", others.join(", ")) };
    let seen = format!("{with} the model's numbers overflow ({place}, in {})", dtype.as_str());
    let remedy = "leave it out or lower its scale. Only if that does not help, the model itself is at fault";
    Blame { field: &field.iter().map(String::as_str).collect::<Vec<_>>(), name, what: "" }
        .problem(format!("{seen}; {remedy}"))
}

/// A file's own name.
fn file(path: &Path) -> String {
    path.file_name().map_or_else(|| "it".into(), |name| name.to_string_lossy().into_owned())
}

impl AdapterFiles {
    /// Its configuration, where it has one.
    pub(crate) fn config(&self) -> Result<Option<Config>> {
        self.config.as_deref().map(small_config).transpose()
    }

    /// What is said about pictures for it, where that is said.
    pub(crate) fn preprocessor(&self) -> Result<Option<Config>> {
        self.preprocessor.as_deref().map(small_config).transpose()
    }
}

fn small_config(path: &Path) -> Result<Config> {
    use std::io::Read;
    let unreadable = |e: std::io::Error| Error::Unreadable { path: path.to_owned(), reason: e.to_string() };
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LONGEST_CONFIG + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LONGEST_CONFIG {
        let reason = format!("a configuration has at most {LONGEST_CONFIG} bytes");
        return Err(Error::Damaged { path: path.to_owned(), reason });
    }
    Config::parse(path.to_owned(), &text)
}
