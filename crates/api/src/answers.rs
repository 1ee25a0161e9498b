//! What answers an endpoint in an installation, and what a worker tells of itself so that pages can say so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
        /// What to do about it.
        advice: String,
    },
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

/// What a worker tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AboutWorker {
    /// What it computes on: `cpu`, `cuda:0`.
    pub device: String,
    /// How many jobs it runs at once.
    pub slots: usize,
    /// What it answers, by endpoint id.
    pub answers: BTreeMap<String, Answers>,
}
