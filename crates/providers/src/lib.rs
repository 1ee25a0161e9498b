//! Closed models behind their makers' own APIs, with the owner's keys, and the language model that makes prompts longer.
//!
//! [`Makers`] holds one of each for all jobs of a process; [`Maker`] is what they have in common: a [`Call`] goes in, a
//! [`Made`] or a [`MakerError`] comes out. What the caller reads is fal's, field by field and error by error; a maker's
//! own words go to the job's log and nowhere else.
//!
//! Money has rules of its own. A call that may have been billed is never sent a second time: not after a lost answer,
//! and not after a restart, since what was sent is noted with the job before it leaves ([`Progress::submitted`]).
//! Fetching what was made is free and is tried again.

mod bfl;
mod chat;
mod core;
mod fal;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod google;
mod ideogram;
mod makers;
mod picture;
mod prices;
mod recraft;
mod seeds;
mod settings;
mod sizes;
mod wire;

pub use self::chat::{Chat, ChatSettings};
pub use self::core::call::{Call, Made, MadeFile, Maker, Progress};
pub use self::core::cost::Cost;
pub use self::core::error::{MakerError, Refusal};
pub use self::core::secret::Secret;
pub use self::core::ticket::{is_open, maker_ids, spent_so_far};
pub use makers::{MakerId, Makers, Options, SettingsError};
pub use settings::{BflSettings, FalSettings, GoogleMode, GoogleSettings, IdeogramSettings, RecraftSettings, Settings};
pub use wire::{Tape, TapeError};
