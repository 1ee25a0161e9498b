//! What answers an endpoint in an installation, and what a worker tells of itself so that everybody can say so.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;

/// What a call of an endpoint gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Answers {
    /// The picture of a model that runs on the worker's own machine.
    Here,
    /// The picture of its maker, over the maker's API.
    Maker,
    /// A card in the place of a picture.
    StandIn,
    /// An error that names what is missing.
    Nothing {
        /// What that is. Workers of before this was said lacked weights as far as anybody knew.
        #[serde(default)]
        lack: Lack,
        /// What to do about it.
        advice: String,
    },
}

/// What is missing where nothing answers an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// A folder of weights; the engine could run them.
    #[default]
    Weights,
    /// The owner's key for the model's maker.
    Key,
    /// Code: the engine has no such model yet, whatever folder it is given.
    Engine,
}

impl Answers {
    /// The better of two workers' answers goes first.
    pub const fn rank(&self) -> u8 {
        match self {
            Self::Here => 0,
            Self::Maker => 1,
            Self::StandIn => 2,
            Self::Nothing { .. } => 3,
        }
    }
}

/// How an endpoint stands in an installation, in the words that gallery, lists and documents use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// For programs: `here`, `maker`, `stand-in`, `needs-weights`, `needs-key`, `not-yet`, `no-worker`.
    pub word: &'static str,
    /// For people, on a badge.
    pub label: &'static str,
    /// What it means, and what to do.
    pub text: String,
}

impl Standing {
    /// Of an endpoint, by the best that any worker has for it; `None` where there is no worker.
    pub fn of(endpoint: &Endpoint, answers: Option<&Answers>) -> Self {
        let (word, label, text) = match answers {
            Some(Answers::Here) => ("here", "Runs here", "Its model runs on this server.".to_owned()),
            Some(Answers::Maker) => {
                let maker = endpoint.family.maker().map_or("its maker", |maker| maker.title());
                ("maker", "Through its maker", format!("{maker} makes the picture, with this server's key."))
            }
            Some(Answers::StandIn) => {
                ("stand-in", "Stand-in", "No model runs: a drawn card stands in for the picture.".to_owned())
            }
            Some(Answers::Nothing { lack, advice }) => {
                let (word, label) = match lack {
                    Lack::Weights => ("needs-weights", "Needs weights"),
                    Lack::Key => ("needs-key", "Needs a key"),
                    Lack::Engine => ("not-yet", "Not yet"),
                };
                (word, label, advice.clone())
            }
            None => (
                "no-worker",
                "No worker",
                "No worker is connected: requests wait until one is. Start one with `scumble serve --role worker`."
                    .to_owned(),
            ),
        };
        Self { word, label, text }
    }
}

/// What a worker tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AboutWorker {
    /// What it computes on: `cpu`, `cuda:0`.
    pub device: String,
    /// How many jobs it runs at once, in all.
    pub slots: usize,
    /// How many of these only wait for makers far away; their slots have the highest numbers.
    pub far_slots: usize,
    /// What it answers, by endpoint id.
    pub answers: BTreeMap<String, Answers>,
    /// What looks at the pictures of the models that run on it; nothing does where this is absent.
    pub checks: Option<Checks>,
}

/// What looks at finished pictures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Checks {
    /// The checker, as settings name it: `compvis`, `falconsai`.
    pub checker: String,
    /// What becomes of a flagged picture: `flag`, `black`, `refuse`.
    pub flagged: String,
}

impl Checks {
    /// What stands beside the switch for it, where models run on workers of these kinds.
    pub fn said(workers: &[Option<&Self>]) -> String {
        let all: BTreeSet<_> = workers.iter().copied().collect();
        let said = |checks: &Self| {
            let becomes = match checks.flagged.as_str() {
                "black" => "a black one is given out in the place of a flagged one",
                "refuse" => "a request with a flagged one is refused",
                _ => "flagged ones are given out with their flags",
            };
            format!("looked at by the checker {}, and {becomes}", checks.checker)
        };
        match all.into_iter().collect::<Vec<_>>()[..] {
            [] | [None] => {
                "This server has no checker for these pictures: nothing is checked, whatever this says.".to_owned()
            }
            [Some(checks)] => format!("On this server, pictures are {}.", said(checks)),
            [None, ..] => "Only some of this server's workers have a checker: pictures may not be checked.".to_owned(),
            [..] => "This server's workers have several checkers: the log of a request names the one that looked."
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_checkers_is_true_of_every_worker() {
        let checks = |flagged: &str| Checks { checker: "compvis".into(), flagged: flagged.into() };
        let (flag, black) = (checks("flag"), checks("black"));
        assert!(Checks::said(&[]).contains("no checker") && Checks::said(&[None, None]).contains("no checker"));
        assert!(Checks::said(&[Some(&black), Some(&black)]).contains("compvis, and a black one"));
        assert!(Checks::said(&[Some(&flag), None]).contains("may not be checked"));
        assert!(Checks::said(&[Some(&flag), Some(&black)]).contains("several checkers"));
        let older: AboutWorker = serde_json::from_str(r#"{"device":"cpu"}"#).expect("a worker");
        assert_eq!(older.checks, None);
    }

    #[test]
    fn older_workers_are_understood() {
        let read = |text: &str| serde_json::from_str::<Answers>(text).expect("an answer");
        let nothing = |lack| Answers::Nothing { lack, advice: "x".to_owned() };
        assert_eq!(read(r#"{"by":"nothing","advice":"x"}"#), nothing(Lack::Weights));
        assert_eq!(read(r#"{"by":"nothing","lack":"engine","advice":"x"}"#), nothing(Lack::Engine));
        assert_eq!(read(r#"{"by":"stand_in"}"#), Answers::StandIn);
    }
}
