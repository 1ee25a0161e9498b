//! What these tests share.

#![allow(dead_code, reason = "each test file uses its part of this")]

use std::time::Duration;

/// Waits until something holds, at most half a minute.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), held).await.is_ok(), "{what}");
}
