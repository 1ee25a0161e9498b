//! What the tests of Scumble share: servers, runners, tiny checkpoints and an eye for pictures

pub mod tiny;
