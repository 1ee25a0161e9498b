//! `scumble keys`.

use scumble_server::new_key;
use scumble_store::Store;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{Keys, KeysCommand};
use crate::failure::Failure;
use crate::settings::{data_dir, open_store, runtime};

/// Works with the server up or down: both use the same database.
pub(crate) fn keys(args: &Keys) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match &args.command {
            KeysCommand::Create { label, data } => create(&*open_store(&data_dir(data)?).await?, label).await,
            KeysCommand::List { data } => list(&*open_store(&data_dir(data)?).await?).await,
            KeysCommand::Revoke { id, data } => revoke(&*open_store(&data_dir(data)?).await?, id).await,
        }
    })
}

#[expect(clippy::print_stdout, reason = "the one place where a key is shown")]
async fn create(store: &dyn Store, label: &str) -> Result<(), Failure> {
    let (id, secret, hash) = new_key();
    store.create_key(&id, label, hash).await?;
    println!("{}", secret.reveal());
    eprintln!("This key is not shown again. From now on callers of this server need a key.");
    store.close().await;
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

fn iso(ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(ms / 1000);
    time.ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_default()
}
