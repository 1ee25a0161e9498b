//! Who may call: without keys only this machine, unless the owner says otherwise.

use scumble_store::KeyRecord;

use super::Finding;
use crate::args::Role;
use crate::failure::Failure;
use crate::settings::Settings;

/// `keys`: all that were made.
pub(super) fn check(settings: &Settings, keys: &[KeyRecord]) -> Finding {
    // revoking the last one does not open the door
    match keys.iter().filter(|key| key.revoked_ms.is_none()).count() {
        _ if keys.is_empty() => without(settings),
        0 => {
            let create = settings.named.command("scumble keys create");
            Finding::Odd(format!("callers need a key, and all are revoked; make one with {create}"))
        }
        n => Finding::Well(format!("callers need a key; {n} can be used")),
    }
}

/// Whether the keys are there that may read the metrics; `None` where none are named. An id that is misspelt shuts out whoever
/// should read them, and they are told no more than that they may not.
pub(super) fn of_metrics(settings: &Settings, keys: &[KeyRecord]) -> Option<Finding> {
    let named = &settings.server.metrics_keys;
    let wrong: Vec<String> = named.iter().filter_map(|id| unusable(id, keys)).collect();
    let list = settings.named.command("scumble keys list");
    match (named.len(), wrong.len()) {
        (0, _) => None,
        (1, 0) => Some(Finding::Well("1 key may read them, as [metrics] keys says".to_owned())),
        (n, 0) => Some(Finding::Well(format!("{n} keys may read them, as [metrics] keys says"))),
        (n, bad) => {
            let none = if n == bad { "until that is mended no key can read the metrics; " } else { "" };
            let wrong = wrong.join("; ");
            Some(Finding::Odd(format!("[metrics] keys: {wrong}. Mend the list: {none}{list} shows the ids")))
        }
    }
}

/// Why the key of this id opens nothing, if it is so.
fn unusable(id: &str, keys: &[KeyRecord]) -> Option<String> {
    match keys.iter().find(|key| key.id == id) {
        None => Some(format!("there is no key {id}")),
        Some(key) if key.revoked_ms.is_some() => Some(format!("{id} is revoked")),
        Some(_) => None,
    }
}

/// Where no key was made.
pub(super) fn without(settings: &Settings) -> Finding {
    if settings.role == Role::Worker {
        return Finding::Well("none: a worker is not called".into());
    }
    let reachable = settings.listen.filter(|address| !address.ip().is_loopback());
    match reachable {
        Some(address) if !settings.open => Finding::Fails(Failure::Usage(format!(
            "others can reach {address}, and no key was made. Make one with {}, or let everybody call with --open",
            settings.named.command("scumble keys create")
        ))),
        _ if settings.open => Finding::Well("none, and --open: everybody who can reach this server may call".into()),
        _ => Finding::Well("none: only programs on this machine may call".into()),
    }
}
