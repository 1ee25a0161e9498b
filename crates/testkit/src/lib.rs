//! What the tests of Scumble share: tiny checkpoints, an eye for pictures, prompts with known answers, and (feature
//! `server`) a whole server with a runner that does what the test says, and a receiver of webhooks.

#[cfg(feature = "server")]
pub mod catcher;
pub mod picture;
pub mod prompts;
#[cfg(feature = "server")]
pub mod runner;
#[cfg(feature = "server")]
pub mod server;
pub mod tiny;
