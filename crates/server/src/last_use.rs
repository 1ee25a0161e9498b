//! When each key was last used, for whoever wants to know which of them still are.
//!
//! A use is a call or a sign-in with the key, and what somebody does with a token or a visit that was begun with it: the key
//! opens that as well. It is written at most once a minute for each key, beside the call and not on its way: a database that
//! is slow, full or away changes nothing for the caller.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use scumble_store::KeyRecord;

use crate::state::AppState;

/// What was written is good for so long.
const EVERY_MS: i64 = 60_000;

/// When the use of a key was last written here, or begun to be. Of valid keys alone, so that strangers cannot make it grow.
#[derive(Debug, Default)]
pub(crate) struct LastUse(Mutex<HashMap<String, i64>>);

impl LastUse {
    /// Whether a use now is to be written. Other gateways write too: the record has what was known when it was read.
    fn is_due(&self, key: &KeyRecord, now_ms: i64) -> bool {
        let is_old = |written_ms: i64| now_ms.abs_diff(written_ms) >= EVERY_MS.unsigned_abs();
        if !key.last_used_ms.is_none_or(is_old) {
            return false;
        }
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = written.get(&key.id).copied().is_none_or(is_old);
        if is_due {
            written.insert(key.id.clone(), now_ms);
        }
        is_due
    }
}

impl AppState {
    /// A key has opened something.
    pub(crate) fn used(&self, key: &KeyRecord) {
        if !self.last_use.is_due(key, self.clock.now_ms()) {
            return;
        }
        let (store, id) = (self.store.clone(), key.id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.touch_key(&id).await {
                tracing::debug!(%error, key.id = id, "the last use of a key is not written");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, last_used_ms: Option<i64>) -> KeyRecord {
        KeyRecord { id: id.to_owned(), label: String::new(), created_ms: 0, last_used_ms, revoked_ms: None }
    }

    #[test]
    fn a_key_is_written_once_a_minute_however_often_it_is_used() {
        let (last_use, now) = (LastUse::default(), 1_000_000);
        let written = (0..120_000).filter(|ms| last_use.is_due(&key("a", None), now + ms)).count();
        assert_eq!(written, 2, "what is begun counts, whether the record has it or not");
        assert!(last_use.is_due(&key("b", None), now), "each key for itself");
        // another gateway has written it
        assert!(!last_use.is_due(&key("c", Some(now - 59_999)), now));
        assert!(last_use.is_due(&key("c", Some(now - 60_000)), now));
        // a clock that was set back does not keep it from being written for as long
        assert!(last_use.is_due(&key("a", Some(now)), now - 3_600_000));
    }
}
