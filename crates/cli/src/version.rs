//! What `--version` says: enough to tell two builds apart.

use std::sync::LazyLock;

use scumble_engine::devices;

/// Commit, target, features and devices of this build.
pub(crate) fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(written);
    &LONG
}

fn written() -> String {
    format!(
        "{} (commit {})\ntarget: {}\nfeatures: {}\ndevices: {}",
        env!("CARGO_PKG_VERSION"),
        env!("SCUMBLE_BUILD_COMMIT"),
        env!("SCUMBLE_BUILD_TARGET"),
        env!("SCUMBLE_BUILD_FEATURES"),
        devices().join(", ")
    )
}
