//! Which endpoint a model's name means.
//!
//! A name is an endpoint's id, an alias of the owner's, or one of OpenAI's own: those mean whatever runs here best.

use std::collections::BTreeMap;

use super::errors::OpenAiError;
use super::pictures;
use crate::answers::Answers;
use crate::endpoint::{Endpoint, Family};
use crate::endpoints::{ENDPOINTS, find};

/// Longest name of an alias, in bytes.
const NAME_BYTES: usize = 200;

/// Names of OpenAI's begin so; the first two kinds answer base64 without being asked.
const THEIRS: [&str; 3] = ["gpt-image", "chatgpt-image", "dall-e"];
const BASE64: usize = 2;

/// What answers edits, the best first, where several answer equally well.
const EDITS: [&str; 10] = [
    "fal-ai/omnigen-v2",
    "fal-ai/flux-pro/v1/fill",
    "fal-ai/flux-lora-fill",
    "fal-ai/flux/dev/image-to-image",
    "fal-ai/flux-lora/image-to-image",
    "fal-ai/ideogram/v3/edit",
    "fal-ai/flux-pro/v1.1/redux",
    "fal-ai/flux-pro/v1/redux",
    "fal-ai/flux-pro/v1.1-ultra/redux",
    "fal-ai/ideogram/v3/remix",
];
/// The same for variations, which have no prompt.
const VARIATIONS: [&str; 5] = [
    "fal-ai/flux-pro/v1.1/redux",
    "fal-ai/flux-pro/v1/redux",
    "fal-ai/flux-pro/v1.1-ultra/redux",
    "fal-ai/flux/dev/image-to-image",
    "fal-ai/flux-lora/image-to-image",
];

/// Which of OpenAI's three calls it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenAiTask {
    /// Pictures from a prompt.
    Generate,
    /// Pictures from pictures and a prompt.
    Edit,
    /// Pictures from a picture alone.
    Vary,
}

/// What an endpoint has to be able to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) task: OpenAiTask,
    /// How many pictures are given.
    pub(super) pictures: usize,
    /// Whether a mask is given.
    pub(super) mask: bool,
}

/// The owner's names for endpoints.
#[derive(Clone, Debug, Default)]
pub struct OpenAiAliases(BTreeMap<String, &'static Endpoint>);

impl OpenAiAliases {
    /// From pairs of a name and an endpoint's id.
    ///
    /// # Errors
    /// A sentence about the first that makes no sense.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut aliases = BTreeMap::new();
        for (name, id) in pairs {
            let endpoint = find(&id).ok_or_else(|| {
                format!("\"{name}\": there is no endpoint {id}; `scumble models list` shows those that there are")
            })?;
            if find(&name).is_some() {
                return Err(format!("\"{name}\" is the id of an endpoint; an alias needs a name of its own"));
            }
            let visible = |b: u8| (b'!'..=b'~').contains(&b);
            if !(1..=NAME_BYTES).contains(&name.len()) || !name.bytes().all(visible) {
                let rule = format!("a name has 1 to {NAME_BYTES} visible ASCII characters and no space");
                return Err(format!("{name:?} cannot be a name: {rule}"));
            }
            aliases.insert(name, endpoint);
        }
        Ok(Self(aliases))
    }

    /// The names, with what they stand for.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &'static Endpoint)> {
        self.0.iter().map(|(name, endpoint)| (name.as_str(), *endpoint))
    }

    /// The endpoint that a name stands for where nothing but the name is known; `None` where there is none of it.
    pub fn known(&self, name: &str, answers: &dyn Fn(&Endpoint) -> Option<Answers>) -> Option<&'static Endpoint> {
        let default = || best(Wanted { task: OpenAiTask::Generate, pictures: 0, mask: false }, answers);
        let known = self.0.get(name).copied().or_else(|| find(name));
        known.or_else(|| is_openai_name(Some(name)).then(default).flatten())
    }

    /// The endpoint that a call of this name goes to.
    pub(super) fn endpoint(
        &self,
        name: Option<&str>,
        wanted: Wanted,
        answers: &dyn Fn(&Endpoint) -> Option<Answers>,
    ) -> Result<&'static Endpoint, OpenAiError> {
        let theirs = is_openai_name(name);
        let named = name.and_then(|name| self.0.get(name).copied().or_else(|| find(name)));
        let fits = |endpoint: &'static Endpoint| pictures::check(endpoint, wanted).map(|()| endpoint);
        match named {
            // a name that means one model for prompts means another for pictures
            Some(endpoint) if theirs && fits(endpoint).is_err() => {}
            Some(endpoint) => return fits(endpoint),
            None if theirs => {}
            None => return Err(OpenAiError::no_such_model(name.unwrap_or_default())),
        }
        best(wanted, answers).ok_or_else(|| pictures::nothing_takes(wanted))
    }
}

/// Whether the name is one of OpenAI's own, or none: what it means depends on what runs here.
pub fn is_openai_name(name: Option<&str>) -> bool {
    name.is_none_or(|name| THEIRS.iter().any(|theirs| name.starts_with(theirs)))
}

/// Whether programs that use this name read base64 without asking for it.
pub(super) fn gives_base64(name: Option<&str>) -> bool {
    name.is_some_and(|name| THEIRS[..BASE64].iter().any(|theirs| name.starts_with(theirs)))
}

/// What answers best; where nothing does, what says best what is missing.
fn best(wanted: Wanted, answers: &dyn Fn(&Endpoint) -> Option<Answers>) -> Option<&'static Endpoint> {
    let is_able = |endpoint: &&'static Endpoint| {
        pictures::check(endpoint, wanted).is_ok() && (wanted.mask || !pictures::needs_mask(endpoint))
    };
    let able: Vec<&'static Endpoint> = candidates(wanted.task).into_iter().filter(is_able).collect();
    let answering = able.iter().filter_map(|endpoint| Some((rank(endpoint, &answers(endpoint)?)?, *endpoint)));
    let first = answering.min_by_key(|(rank, _)| *rank).map(|(_, endpoint)| endpoint);
    let advising = |endpoint: &&&'static Endpoint| match wanted.task {
        OpenAiTask::Generate => endpoint.family == Family::Starter,
        OpenAiTask::Edit | OpenAiTask::Vary => endpoint.family.maker().is_some(),
    };
    first.or_else(|| able.iter().find(advising).or(able.first()).copied())
}

fn candidates(task: OpenAiTask) -> Vec<&'static Endpoint> {
    let these = |ids: &[&str]| ids.iter().filter_map(|id| find(id)).collect();
    match task {
        OpenAiTask::Generate => ENDPOINTS.iter().collect(),
        OpenAiTask::Edit => these(&EDITS),
        OpenAiTask::Vary => these(&VARIATIONS),
    }
}

/// The order of answers: weights that the owner brought, makers, the starter, cards.
fn rank(endpoint: &Endpoint, answers: &Answers) -> Option<u8> {
    match answers {
        Answers::Here if endpoint.family == Family::Starter => Some(2),
        Answers::Here => Some(0),
        Answers::Maker => Some(1),
        Answers::StandIn => Some(3),
        Answers::Nothing { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(name: Option<&str>, task: OpenAiTask, pictures: usize, mask: bool, here: &[(&str, Answers)]) -> String {
        let aliases = [("gpt-image-9", "fal-ai/flux/dev"), ("house", "fal-ai/flux/dev")];
        let aliases = OpenAiAliases::new(aliases.map(|(name, id)| (name.into(), id.into()))).expect("aliases");
        let answers = |endpoint: &Endpoint| here.iter().find(|(id, _)| *id == endpoint.id).map(|(_, a)| a.clone());
        match aliases.endpoint(name, Wanted { task, pictures, mask }, &answers) {
            Ok(endpoint) => endpoint.id.to_owned(),
            Err(error) => format!("{} {}", error.status, error.param.unwrap_or_default()),
        }
    }

    #[test]
    fn their_names_mean_what_runs_here_best() {
        use OpenAiTask::{Edit, Generate, Vary};
        let (starter, dev, pro) = ("scumble/starter", "fal-ai/flux/dev", "fal-ai/flux-pro");
        let all = [(starter, Answers::Here), (dev, Answers::Here), (pro, Answers::Maker)];
        assert_eq!(id_of(Some("gpt-image-1"), Generate, 0, false, &all), dev);
        let far = [(starter, Answers::Here), (pro, Answers::Maker), ("fal-ai/flux/schnell", Answers::StandIn)];
        assert_eq!(id_of(Some("dall-e-3"), Generate, 0, false, &far), pro);
        assert_eq!(id_of(None, Generate, 0, false, &far[..1]), starter);
        assert_eq!(id_of(None, Generate, 0, false, &[]), starter);
        let (redux, omnigen) = ("fal-ai/flux-pro/v1/redux", "fal-ai/omnigen-v2");
        let fill = "fal-ai/flux-pro/v1/fill";
        let cards = [redux, omnigen, fill].map(|id| (id, Answers::StandIn));
        assert_eq!(id_of(Some("gpt-image-1"), Edit, 1, false, &cards), omnigen);
        assert_eq!(id_of(Some("gpt-image-1"), Edit, 1, false, &[(redux, Answers::Maker)]), redux);
        assert_eq!(id_of(Some("gpt-image-1"), Edit, 1, true, &cards), fill);
        assert_eq!(id_of(Some("gpt-image-1"), Edit, 3, false, &[(redux, Answers::Maker)]), omnigen);
        assert_eq!(id_of(Some("gpt-image-1"), Edit, 4, false, &cards), "400 image");
        assert_eq!(id_of(Some("dall-e-2"), Vary, 1, false, &cards), redux);
        assert_eq!(id_of(Some("dall-e-2"), Vary, 1, false, &[]), "fal-ai/flux-pro/v1.1/redux", "says what is missing");
        // weights of the owner's go first, and a mask leads to what takes one
        let (image, lora, lora_fill) =
            ("fal-ai/flux/dev/image-to-image", "fal-ai/flux-lora/image-to-image", "fal-ai/flux-lora-fill");
        let lack = || Answers::Nothing { lack: crate::answers::Lack::Key, advice: String::new() };
        let mine = [(fill, lack()), (redux, Answers::Maker), (image, Answers::Here), (lora_fill, Answers::Here)];
        for name in [None, Some("gpt-image-1")] {
            assert_eq!(id_of(name, Edit, 1, false, &mine), image);
            assert_eq!(id_of(name, Edit, 1, true, &mine), lora_fill);
            assert_eq!(id_of(name, Vary, 1, false, &mine), image);
        }
        assert_eq!(id_of(None, Edit, 1, false, &[(lora, Answers::Here), (omnigen, Answers::StandIn)]), lora);
        // the owner's word for one of theirs holds where it can
        assert_eq!(id_of(Some("gpt-image-9"), Generate, 0, false, &far), dev);
        assert_eq!(id_of(Some("gpt-image-9"), Edit, 1, false, &cards), omnigen);
    }

    #[test]
    fn other_names_mean_themselves_or_are_refused() {
        use OpenAiTask::{Edit, Generate};
        assert_eq!(id_of(Some("house"), Generate, 0, false, &[]), "fal-ai/flux/dev");
        assert_eq!(id_of(Some("house"), Edit, 1, false, &[]), "400 model");
        assert_eq!(id_of(Some("mouse"), Generate, 0, false, &[]), "404 model");
        assert_eq!(id_of(Some("fal-ai/ideogram/v3/remix"), Generate, 0, false, &[]), "400 model");
        assert_eq!(id_of(Some("fal-ai/flux-pro/v1/redux"), Edit, 2, false, &[]), "400 image");
        assert_eq!(id_of(Some("fal-ai/flux-pro/v1/redux"), Edit, 1, true, &[]), "400 mask");
    }

    #[test]
    fn an_alias_that_makes_no_sense_is_refused() {
        let refused = |name: &str, id: &str| OpenAiAliases::new([(name.into(), id.into())]).expect_err(name);
        assert!(refused("house", "fal-ai/flux/nope").contains("there is no endpoint fal-ai/flux/nope"));
        assert!(refused("scumble/starter", "fal-ai/flux/dev").contains("id of an endpoint"));
        for name in ["", "two words", "größe", &"x".repeat(201)] {
            assert!(refused(name, "fal-ai/flux/dev").contains("cannot be a name"), "{name}");
        }
    }
}
