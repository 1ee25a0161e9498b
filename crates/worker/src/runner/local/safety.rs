//! What looks at finished pictures, where the owner has set a checker, and what becomes of those that it flags.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use scumble_api::{ErrorAnswer, ErrorType, Problem, SAFETY_CHECKER};
use scumble_engine::checkers::{Checker, CheckerKind};
use scumble_engine::{Context, Pixels, Trace};
use serde_json::Value;

use super::lanes::Lane;
use super::residency::{Key, Loaded, Plan, Progress, Wanted};
use crate::runner::{Request, RunError, Watch};

/// Settings of `[safety]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyConfig {
    /// Which checker.
    pub checker: CheckerKind,
    /// Its folder.
    pub weights: PathBuf,
    /// What becomes of a picture that it flags.
    pub flagged: Flagged,
}

/// What becomes of a picture that is flagged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flagged {
    /// It is given out, with its flag.
    #[default]
    Flag,
    /// A black one is given out in its place, with its flag.
    Black,
    /// The request ends with an error, and none of its pictures is given out.
    Refuse,
}

impl Flagged {
    /// As settings name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Black => "black",
            Self::Refuse => "refuse",
        }
    }
}

/// What callers read of a refused picture, in fal's words.
const REFUSED: &str = "The content could not be processed because it contained material flagged by a content checker.";

/// What they read where it could not look.
const FAILED: &str = "The safety checker of this server failed, and pictures that it has not seen are not given out; the \
                      server's own log says why";

/// Pictures that were looked at.
pub(super) struct Checked {
    pub(super) pictures: Vec<Pixels>,
    pub(super) flags: Vec<bool>,
    /// How long it took.
    pub(super) seconds: f64,
}

/// The owner's checker, where a request wants it.
pub(super) fn wanted<'a>(safety: Option<&'a SafetyConfig>, request: &Request) -> Option<&'a SafetyConfig> {
    safety.filter(|_| request.values.get(SAFETY_CHECKER) == Some(&Value::Bool(true)))
}

impl SafetyConfig {
    /// Whether pictures may not be seen before they were looked at: a preview is one.
    pub(super) fn hides(&self) -> bool {
        self.flagged != Flagged::Flag
    }

    /// Looks at pictures. The model that made them must not be held: this may wait for the room that it takes.
    ///
    /// # Errors
    /// A checker that fails is the end of the request: what nobody has looked at passes for nothing. So is a flagged picture,
    /// where the owner says so.
    pub(super) fn check(
        &self,
        pictures: Vec<Pixels>,
        lane: &Lane,
        watch: &dyn Watch,
        context: &Context<'_>,
    ) -> Result<Checked, RunError> {
        let began = Instant::now();
        let key = self.key();
        let plan = || {
            let (kind, folder, device) = (self.checker, self.weights.clone(), lane.device.clone());
            let load = move |progress: Arc<Progress>| -> Result<Loaded, RunError> {
                Ok(Loaded::Checker(Arc::new(Checker::open(kind, &folder, &device, Some(progress))?)))
            };
            Ok(Plan { bytes: Checker::takes(&self.weights)?, encoders: 0, load: Box::new(load) })
        };
        let announce = || {
            watch.log(&format!("the safety checker is loaded: {}", self.checker.name()));
            Ok(())
        };
        let wanted = Wanted { key: &key, plan: &plan, watch, announce: &announce };
        let loaded = lane.residency.model(&wanted).map_err(failed)?;
        let checker = loaded.checker().map_err(failed)?;
        let flags = |(number, picture): (usize, &Pixels)| {
            context.observer.ask().check()?;
            let own = context.trace.map(|_| Trace::new());
            let flagged = checker.flags(picture, &Context { observer: context.observer, trace: own.as_ref() })?;
            for (name, tensor) in own.map(Trace::into_tensors).unwrap_or_default() {
                context.trace.map_or(Ok(()), |trace| trace.put(&format!("check.{number}.{name}"), &tensor))?;
            }
            Ok(flagged)
        };
        let flags: scumble_engine::Result<Vec<bool>> = pictures.iter().enumerate().map(flags).collect();
        let flags = flags.map_err(|error| failed(error.into()))?;
        drop(loaded);
        let pictures = self.finished(pictures, &flags, watch)?;
        Ok(Checked { pictures, flags, seconds: began.elapsed().as_secs_f64() })
    }

    fn key(&self) -> Key {
        let known = self.weights.canonicalize().unwrap_or_else(|_| self.weights.clone());
        Key { files: vec![("safety".to_owned(), known)], dtype: self.checker.name().to_owned() }
    }

    /// The pictures as they may be given out.
    fn finished(&self, pictures: Vec<Pixels>, flags: &[bool], watch: &dyn Watch) -> Result<Vec<Pixels>, RunError> {
        let (name, all) = (self.checker.name(), flags.len());
        let flagged = flags.iter().filter(|flagged| **flagged).count();
        if flagged == 0 {
            watch.log(&format!("safety checker ({name}): none of {all} pictures is flagged"));
            return Ok(pictures);
        }
        let becomes = match self.flagged {
            Flagged::Flag => "they are given out with their flags",
            Flagged::Black => "black ones are given out in their place",
            Flagged::Refuse => "the request is refused",
        };
        watch.warn(&format!("safety checker ({name}): {flagged} of {all} pictures flagged; {becomes}"));
        match self.flagged {
            Flagged::Flag => Ok(pictures),
            Flagged::Refuse => {
                Err(RunError::Invalid(vec![Problem::new(&["prompt"], "content_policy_violation", REFUSED)]))
            }
            Flagged::Black => {
                let black = |(picture, flagged): (Pixels, &bool)| match flagged {
                    true => Pixels { rgb: vec![0; picture.rgb.len()], ..picture },
                    false => picture,
                };
                Ok(pictures.into_iter().zip(flags).map(black).collect())
            }
        }
    }
}

/// A failure that is not the caller's, and no reason to ask another runner for the pictures.
fn failed(error: RunError) -> RunError {
    if let RunError::Cancelled = error {
        return error;
    }
    tracing::error!(%error, "the safety checker failed");
    RunError::Answered(Box::new(ErrorAnswer::typed(ErrorType::RunnerServerError, FAILED)))
}
