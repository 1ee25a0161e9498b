//! Repositories of weights: what a model needs of them comes into the cache that Hugging Face's own tools keep, whole or
//! not at all.
//!
//! - [`Client`] asks a hub, [`choose`] says which files a model needs, [`Fetching`] brings them into the [`Cache`].
//! - [`Models`] keeps a folder for each model that was fetched: links into the cache, in the layout that the engine reads,
//!   whichever repositories the files come from. A model has its folder when all of its files are here.
//!
//! Only the owner of a machine fetches models; nothing here is reached by a request of a stranger. Names that a hub gives
//! are hostile until checked all the same, and its token goes to the hub's own host alone.

mod address;
mod cache;
mod choose;
mod claim;
mod client;
mod download;
mod error;
mod fetch;
mod models;
mod names;
mod patience;
mod pieces;
mod watch;

pub use address::Hub;
pub use cache::Cache;
pub use choose::{Choice, Chosen, choose};
pub use claim::Claim;
pub use client::{Client, Listing, Remote};
pub use error::{Error, Result};
pub use fetch::{Fetching, Planned, total};
pub use models::{Held, HeldFile, Models, Source, Whole};
pub use names::{RepoId, encoded, is_inside, is_name};
pub use patience::Patience;
pub use watch::{Unwatched, Watch};
