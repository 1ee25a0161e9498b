//! Who may call: without keys only this machine, unless the owner says otherwise.

use scumble_store::Store;

use super::Finding;
use crate::args::Role;
use crate::failure::Failure;
use crate::settings::Settings;

pub(super) async fn check(settings: &Settings, store: &dyn Store) -> Finding {
    match valid_keys(store).await {
        Err(failure) => Finding::Fails(failure),
        Ok(Some(0)) => {
            Finding::Odd("callers need a key, and all are revoked; make one with `scumble keys create`".to_owned())
        }
        Ok(Some(n)) => Finding::Well(format!("callers need a key; {n} can be used")),
        Ok(None) => without(settings),
    }
}

/// How many keys are valid, where callers need one.
async fn valid_keys(store: &dyn Store) -> Result<Option<usize>, Failure> {
    if !store.keys_required().await? {
        return Ok(None);
    }
    let keys = store.list_keys().await?;
    Ok(Some(keys.iter().filter(|key| key.revoked_ms.is_none()).count()))
}

/// Where no key was made.
pub(super) fn without(settings: &Settings) -> Finding {
    if settings.role == Role::Worker {
        return Finding::Well("none: a worker is not called".into());
    }
    let reachable = settings.listen.filter(|address| !address.ip().is_loopback());
    match reachable {
        Some(address) if !settings.open => Finding::Fails(Failure::Usage(format!(
            "others can reach {address}, and no key was made. Make one with `scumble keys create --data-dir {}`, or let \
             everybody call with --open",
            settings.data_dir.display()
        ))),
        _ if settings.open => Finding::Well("none, and --open: everybody who can reach this server may call".into()),
        _ => Finding::Well("none: only programs on this machine may call".into()),
    }
}
