//! `scumble keys`.

use std::fmt::Write;

use scumble_meters::Meters;
use scumble_server::{new_key, rotate_webhook_keys};
use scumble_store::{Clock, KeyRecord, Store, SystemClock};
use serde_json::{Value, json};

use crate::args::{Keys, KeysCommand};
use crate::commands::time::iso;
use crate::failure::Failure;
use crate::out;
use crate::settings::{Place, open_existing, open_store, runtime};
use crate::text::cell;

/// A longer label is cut in the list.
const LABEL: usize = 200;

/// Works with the server up or down: both use the same database.
pub(crate) fn keys(args: &Keys) -> Result<(), Failure> {
    let (KeysCommand::Create { place, .. }
    | KeysCommand::List { place, .. }
    | KeysCommand::Revoke { place, .. }
    | KeysCommand::RotateWebhooks { place }) = &args.command;
    let database = Place::of(place)?.database;
    crate::private::close_new_files();
    runtime()?.block_on(async {
        // only who makes a key means a database that is not there yet
        let store = match &args.command {
            KeysCommand::Create { .. } => open_store(&database, &Meters::new()).await?,
            _ => open_existing(&database).await?,
        };
        let done = match &args.command {
            KeysCommand::Create { label, .. } => create(&*store, label).await,
            KeysCommand::List { json, .. } => list(&*store, *json).await,
            KeysCommand::Revoke { id, .. } => revoke(&*store, id).await,
            KeysCommand::RotateWebhooks { .. } => rotate(&*store).await,
        };
        store.close().await;
        done
    })
}

/// The one place where a key is shown.
async fn create(store: &dyn Store, label: &str) -> Result<(), Failure> {
    let is_first = !store.keys_required().await?;
    let (id, secret, hash) = new_key();
    store.create_key(&id, label, hash).await?;
    if let Err(failure) = out::result(secret.reveal()) {
        out::say(&format!(
            "The key {id} was made, but nobody could read it: revoke it with `scumble keys revoke {id}`."
        ));
        return Err(failure);
    }
    out::say("This key is not shown again.");
    if is_first {
        out::say("From now on, callers of this server need a key.");
    }
    Ok(())
}

async fn list(store: &dyn Store, json: bool) -> Result<(), Failure> {
    let keys = store.list_keys().await?;
    if json {
        return out::json(&Value::from_iter(keys.iter().map(as_json)));
    }
    if keys.is_empty() {
        out::say("There are no keys; `scumble keys create` makes one, and from then on callers need one.");
    }
    let mut lines = String::new();
    for key in keys {
        let state = key.revoked_ms.map_or_else(|| "valid".to_owned(), |at| format!("revoked {}", iso(at)));
        let used = key.last_used_ms.map_or_else(|| "never used".to_owned(), |at| format!("used {}", iso(at)));
        let label = cell(&key.label, LABEL);
        let _ = writeln!(lines, "{}  created {}  {used}  {state}  {label}", key.id, iso(key.created_ms));
    }
    out::result(&lines)
}

fn as_json(key: &KeyRecord) -> Value {
    let KeyRecord { id, label, created_ms, last_used_ms, revoked_ms } = key;
    json!({
        "id": id, "label": label, "created": iso(*created_ms), "last_used": last_used_ms.map(iso),
        "revoked": revoked_ms.map(iso),
    })
}

async fn revoke(store: &dyn Store, id: &str) -> Result<(), Failure> {
    if store.revoke_key(id).await? {
        out::say(&format!("Key {id} is revoked."));
        return Ok(());
    }
    Err(Failure::Usage(format!("there is no valid key {id}; `scumble keys list` shows them")))
}

async fn rotate(store: &dyn Store) -> Result<(), Failure> {
    let done = rotate_webhook_keys(store, SystemClock.now_ms()).await.map_err(|e| Failure::System(e.to_string()))?;
    let (from, published, removed) = (iso(done.signs_from_ms), done.published, done.removed);
    out::say(&format!(
        "A new key is published and signs webhooks from {from}. Published: {published}; removed: {removed}."
    ));
    Ok(())
}
