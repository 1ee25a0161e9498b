//! The half of the server that makes pictures: lease a job, run it, save its files, finish it.
//!
//! It meets the other half only in `scumble-store`. [`Worker::run`] is the loop, [`runner::Runner`] the seam to
//! whatever makes pictures, [`Models`] says which runner answers which endpoint. `scumble run` uses the runners
//! without a queue.

mod adapters;
mod announce;
mod cleanup;
mod config;
mod encoding;
mod faults;
mod fetching;
mod hear;
mod housekeeping;
mod inputs;
mod journal;
mod memory;
mod models;
mod outcome;
mod picture;
mod preview;
mod prompts;
mod run_one;
pub mod runner;
mod settle;
mod spent;
mod standby;
mod webhooks;
mod weights;
mod work;

/// The makers of closed models: settings, records, ids.
pub mod makers {
    pub use scumble_providers::{
        Cost, GoogleMode, MakerId, Makers, Options, Secret, Settings, SettingsError, Tape, TapeError, maker_ids,
    };
}

pub use adapters::{Adapters, AdaptersConfig, GivenAdapter, Paths};
pub use config::{Config, FetchConfig, RunLimits, WebhooksConfig};
pub use faults::{Faults, Point};
pub use inputs::{GivenPicture, InputImage, InputPixels, Inputs};
pub use memory::{has_room, total as total_memory};
pub use models::{ModelConfig, Models, ModelsConfig, advice, engine_runs, source};
pub use outcome::fresh_seed;
pub use picture::Picture;
pub use prompts::Prompts;
pub use scumble_fetch::Budget;
pub use scumble_hub::Hub;
pub use scumble_providers::ChatSettings;
pub use settle::with_fresh;
pub use work::Worker;
