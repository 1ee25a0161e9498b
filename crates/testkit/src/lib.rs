//! What the tests of Scumble share: tiny checkpoints, an eye for pictures, prompts with known answers.

pub mod picture;
pub mod prompts;
pub mod tiny;
