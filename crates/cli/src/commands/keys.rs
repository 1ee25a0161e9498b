//! `scumble keys`.

use scumble_server::new_key;
use scumble_store::Store;

use crate::args::{Keys, KeysCommand};
use crate::commands::time::iso;
use crate::failure::Failure;
use crate::settings::{Place, open_store, runtime};

/// Works with the server up or down: both use the same database.
pub(crate) fn keys(args: &Keys) -> Result<(), Failure> {
    let (KeysCommand::Create { place, .. } | KeysCommand::List { place } | KeysCommand::Revoke { place, .. }) =
        &args.command;
    let database = Place::of(place)?.database;
    runtime()?.block_on(async {
        let store = open_store(&database).await?;
        let done = match &args.command {
            KeysCommand::Create { label, .. } => create(&*store, label).await,
            KeysCommand::List { .. } => list(&*store).await,
            KeysCommand::Revoke { id, .. } => revoke(&*store, id).await,
        };
        store.close().await;
        done
    })
}

#[expect(clippy::print_stdout, reason = "the one place where a key is shown")]
async fn create(store: &dyn Store, label: &str) -> Result<(), Failure> {
    let (id, secret, hash) = new_key();
    store.create_key(&id, label, hash).await?;
    println!("{}", secret.reveal());
    eprintln!("This key is not shown again. From now on callers of this server need a key.");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
async fn list(store: &dyn Store) -> Result<(), Failure> {
    for key in store.list_keys().await? {
        let state = key.revoked_ms.map_or_else(|| "valid".to_owned(), |at| format!("revoked {}", iso(at)));
        println!("{}  created {}  {state}  {}", key.id, iso(key.created_ms), key.label);
    }
    Ok(())
}

async fn revoke(store: &dyn Store, id: &str) -> Result<(), Failure> {
    if store.revoke_key(id).await? {
        eprintln!("Key {id} is revoked.");
        return Ok(());
    }
    Err(Failure::Usage(format!("there is no valid key {id}; `scumble keys list` shows them")))
}
