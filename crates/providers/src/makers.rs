//! All makers of a process.

use std::sync::Arc;
use std::time::Duration;

use scumble_fetch::Budget;

use crate::bfl::Bfl;
use crate::core::brake::Brake;
use crate::core::call::Maker;
use crate::core::cost::Cost;
use crate::core::desk::Desk;
use crate::core::error::MakerError;
use crate::core::gate::{Gate, Rules};
use crate::core::ledger::{Ledger, today};
use crate::core::retry::Pace;
use crate::core::secret::Secret;
use crate::fal::Fal;
use crate::google::Google;
use crate::ideogram::Ideogram;
use crate::recraft::Recraft;
use crate::settings::{Common, Settings};
use crate::wire::{Base, Http, Keys, Link, Tape};

/// A maker, as settings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MakerId {
    /// Black Forest Labs.
    Bfl,
    /// Ideogram.
    Ideogram,
    /// Google.
    Google,
    /// Recraft.
    Recraft,
    /// fal itself.
    Fal,
}

/// What is true of a maker whatever the owner sets.
struct Facts {
    id: &'static str,
    name: &'static str,
    key_variable: &'static str,
    key_page: &'static str,
    base_url: &'static str,
    in_flight: usize,
    deadline_s: f64,
}

/// Everything that is not a setting of one maker.
#[derive(Default)]
pub struct Options {
    /// Whether makers may name addresses that are not on the public internet: `[fetch] allow_private`.
    pub allow_private: bool,
    /// Record, replay, or neither.
    pub tape: Tape,
    /// What pictures draw on while they are unpacked.
    pub memory: Budget,
    /// How fast pauses pass: 1 but in tests.
    pub pace: Option<f64>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("[providers.{provider}] {setting}: {reason}")]
pub struct SettingsError {
    provider: &'static str,
    setting: &'static str,
    reason: String,
}

/// One of each.
pub struct Makers {
    bfl: Bfl,
    ideogram: Ideogram,
    google: Google,
    recraft: Recraft,
    fal: Fal,
}

impl MakerId {
    /// All of them; the last serves any endpoint and only where it is named.
    pub const ALL: [Self; 5] = [Self::Bfl, Self::Ideogram, Self::Google, Self::Recraft, Self::Fal];

    /// As settings write it.
    pub fn as_str(self) -> &'static str {
        self.facts().id
    }

    /// For people.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The environment variable of its key.
    pub fn key_variable(self) -> &'static str {
        self.facts().key_variable
    }

    /// By its name in settings.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|id| id.as_str() == text)
    }

    fn facts(self) -> Facts {
        match self {
            Self::Bfl => Facts {
                id: "bfl",
                name: "Black Forest Labs",
                key_variable: "BFL_API_KEY",
                key_page: "https://dashboard.bfl.ai",
                base_url: "https://api.bfl.ai",
                in_flight: 24,
                deadline_s: 180.0,
            },
            Self::Ideogram => Facts {
                id: "ideogram",
                name: "Ideogram",
                key_variable: "IDEOGRAM_API_KEY",
                key_page: "https://ideogram.ai/manage-api",
                base_url: "https://api.ideogram.ai",
                in_flight: 10,
                deadline_s: 120.0,
            },
            Self::Google => Facts {
                id: "google",
                name: "Google",
                key_variable: "GEMINI_API_KEY",
                key_page: "https://aistudio.google.com/apikey",
                base_url: "https://generativelanguage.googleapis.com",
                in_flight: 8,
                deadline_s: 180.0,
            },
            Self::Recraft => Facts {
                id: "recraft",
                name: "Recraft",
                key_variable: "RECRAFT_API_KEY",
                key_page: "https://www.recraft.ai/profile/api",
                base_url: "https://external.api.recraft.ai",
                in_flight: 16,
                deadline_s: 120.0,
            },
            Self::Fal => Facts {
                id: "fal",
                name: "fal",
                key_variable: "FAL_KEY",
                key_page: "https://fal.ai/dashboard/keys",
                base_url: "https://queue.fal.run",
                in_flight: 16,
                deadline_s: 600.0,
            },
        }
    }
}

impl Makers {
    /// All makers, with their settings checked. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(settings: &Settings, options: Options) -> Result<Self, SettingsError> {
        let keys = Keys::default();
        let Settings { bfl, ideogram, google, recraft, fal } = settings;
        let all = [&bfl.api_key, &ideogram.api_key, &google.api_key, &recraft.api_key, &fal.api_key];
        all.into_iter().flatten().for_each(|key| keys.add(key));
        let pace = Pace(options.pace.unwrap_or(1.0));
        let http = Http::new(options.allow_private, options.tape, keys);
        let memory = options.memory;
        let place = |id: MakerId, common: Common<'_>| Place::new(id, &common, &http, &memory, pace);
        let mut vertex = google.clone();
        vertex.base_url = Google::vertex_base(google).or(vertex.base_url);
        let google = &vertex;
        Ok(Self {
            bfl: Bfl::new(place(MakerId::Bfl, bfl.common())?, bfl)?,
            ideogram: Ideogram::new(place(MakerId::Ideogram, ideogram.common())?, ideogram),
            google: Google::new(place(MakerId::Google, google.common())?, google)?,
            recraft: Recraft::new(place(MakerId::Recraft, recraft.common())?, recraft),
            fal: Fal::new(place(MakerId::Fal, fal.common())?, fal),
        })
    }

    /// One of them.
    pub fn get(&self, id: MakerId) -> &dyn Maker {
        match id {
            MakerId::Bfl => &self.bfl,
            MakerId::Ideogram => &self.ideogram,
            MakerId::Google => &self.google,
            MakerId::Recraft => &self.recraft,
            MakerId::Fal => &self.fal,
        }
    }

    /// The maker of an endpoint's model, if one of them is.
    pub fn of(&self, endpoint: &str) -> Option<MakerId> {
        MakerId::ALL.into_iter().find(|id| *id != MakerId::Fal && self.get(*id).serves(endpoint))
    }

    /// Counts what was spent today elsewhere, or before this process began.
    pub fn add_spent(&self, id: MakerId, cost: Cost) {
        self.desk(id).ledger.add(cost);
    }

    /// What was spent today.
    pub fn spent(&self, id: MakerId) -> Cost {
        self.desk(id).ledger.spent()
    }

    /// How long one of them may work on what it was sent.
    pub fn deadline(&self, id: MakerId) -> Duration {
        self.desk(id).deadline
    }

    pub(crate) fn desk(&self, id: MakerId) -> &Desk {
        match id {
            MakerId::Bfl => &self.bfl.place.desk,
            MakerId::Ideogram => &self.ideogram.place.desk,
            MakerId::Google => &self.google.place.desk,
            MakerId::Recraft => &self.recraft.place.desk,
            MakerId::Fal => &self.fal.place.desk,
        }
    }
}

/// A maker's desk, its address, and the key for it.
pub(crate) struct Place {
    pub(crate) desk: Desk,
    pub(crate) base: Base,
    pub(crate) key: Option<Secret>,
    id: MakerId,
    enabled: bool,
    paths: std::collections::BTreeMap<String, String>,
}

impl Place {
    fn new(
        id: MakerId,
        common: &Common<'_>,
        http: &Arc<Http>,
        memory: &Budget,
        pace: Pace,
    ) -> Result<Self, SettingsError> {
        let facts = id.facts();
        let wrong = |setting, reason: String| SettingsError { provider: facts.id, setting, reason };
        let base = Base::parse(common.base_url.unwrap_or(facts.base_url)).map_err(|e| wrong("base_url", e))?;
        let seconds = common.deadline_s.unwrap_or(facts.deadline_s);
        let deadline = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero());
        let deadline =
            deadline.ok_or_else(|| wrong("deadline_s", format!("{seconds} is not accepted; give seconds above 0")))?;
        let in_flight = common.concurrency.unwrap_or(facts.in_flight);
        if in_flight == 0 {
            let reason = "0 would let no call through; use enabled = false to switch a maker off".to_owned();
            return Err(wrong("concurrency", reason));
        }
        if common.spend_per_day.is_some_and(|usd| !usd.is_finite() || usd < 0.0) {
            return Err(wrong("spend_per_day", "expected an amount of US dollars, such as 20 or 2.5".to_owned()));
        }
        if common.api_key.is_some_and(|key| key.header("").is_none()) {
            return Err(wrong("api_key", "it holds characters that a header cannot carry".to_owned()));
        }
        let gate = Gate::new(Rules { in_flight, requests_per_second: None, pictures_per_minute: None }, pace);
        let limit = common.spend_per_day.map(Cost::from_usd);
        let desk = Desk {
            name: facts.name,
            id: facts.id,
            http: http.clone(),
            memory: memory.clone(),
            gate,
            brake: Brake::new(pace),
            ledger: Ledger::new(facts.name, facts.id, limit, today),
            pace,
            deadline,
        };
        let key = common.api_key.cloned();
        Ok(Self { desk, base, key, id, enabled: common.enabled, paths: common.paths.clone() })
    }

    /// A path at the maker, under its present name.
    pub(crate) fn at(&self, path: &str) -> Link {
        self.base.at(self.paths.get(path).map_or(path, String::as_str))
    }

    /// Limits on requests and pictures, for makers that have them.
    pub(crate) fn limit(&mut self, in_flight: Option<usize>, requests_per_second: u32, pictures_per_minute: u32) {
        let at_least_one = |n: u32| (n > 0).then_some(n);
        let rules = Rules {
            in_flight: in_flight.unwrap_or(self.id.facts().in_flight),
            requests_per_second: at_least_one(requests_per_second),
            pictures_per_minute: at_least_one(pictures_per_minute),
        };
        self.desk.gate = Gate::new(rules, self.desk.pace);
    }

    /// Whether it is switched on.
    pub(crate) fn switched_on(&self) -> Result<(), MakerError> {
        let facts = self.id.facts();
        match self.enabled {
            true => Ok(()),
            false => {
                let msg = format!("{} is switched off here ([providers.{}] enabled = false)", facts.name, facts.id);
                Err(MakerError::unavailable(msg, false))
            }
        }
    }

    /// The key, or what to do about there being none.
    pub(crate) fn key(&self) -> Result<Option<&Secret>, MakerError> {
        self.switched_on()?;
        match &self.key {
            Some(key) => Ok(Some(key)),
            // records need none
            None if self.desk.http.is_replay() => Ok(None),
            None => Err(self.missing("")),
        }
    }

    /// There is no key. `or`: what else would do.
    pub(crate) fn missing(&self, or: &str) -> MakerError {
        let Facts { id, name, key_variable, key_page, .. } = self.id.facts();
        let msg = format!(
            "{name} has no key on this server: set {key_variable}, or api_key in [providers.{id}]{or}; keys are made at \
             {key_page}"
        );
        MakerError::unavailable(msg, false)
    }

    pub(crate) fn wrong(&self, setting: &'static str, reason: impl Into<String>) -> SettingsError {
        SettingsError { provider: self.id.facts().id, setting, reason: reason.into() }
    }
}
