//! Keys and file rows.

use super::*;
use crate::{Access, AccessRule, Decision, Error, KeyRecord};

const HASH: [u8; 32] = [7; 32];
const OTHER_HASH: [u8; 32] = [8; 32];

/// Made, found by its hash, used, revoked, and then no longer found.
pub async fn keys_come_and_go(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let begin = place.clock().now_ms();
    let made = store.create_key("id-1", "laptop", HASH).await?;
    let expected = KeyRecord {
        id: "id-1".to_owned(),
        label: "laptop".to_owned(),
        created_ms: begin,
        last_used_ms: None,
        revoked_ms: None,
    };
    assert_eq!(made, expected);
    assert_eq!(store.key_by_hash(&HASH).await?, Some(made.clone()));
    assert_eq!(store.key_by_hash(&OTHER_HASH).await?, None);
    assert_eq!(store.key("id-1").await?, Some(made));
    assert_eq!(store.key("id-2").await?, None);

    place.clock().advance(10);
    store.touch_key("id-1").await?;
    store.create_key("id-2", "server", OTHER_HASH).await?;
    place.clock().advance(10);
    assert!(store.revoke_key("id-1").await?);
    assert!(!store.revoke_key("id-1").await?);
    assert!(!store.revoke_key("id-3").await?);
    assert_eq!(store.key_by_hash(&HASH).await?, None);
    assert!(store.key_by_hash(&OTHER_HASH).await?.is_some());
    assert_eq!(store.key("id-1").await?, None);
    assert!(store.key("id-2").await?.is_some());

    let listed = store.list_keys().await?;
    let [first, second] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((first.id.as_str(), first.last_used_ms, first.revoked_ms), ("id-1", Some(begin + 10), Some(begin + 20)));
    assert_eq!((second.id.as_str(), second.last_used_ms, second.revoked_ms), ("id-2", None, None));
    Ok(())
}

/// Revoking the last key does not open the door.
pub async fn keys_stay_required(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    assert!(!store.keys_required().await?);
    store.create_key("id-1", "laptop", HASH).await?;
    assert!(store.keys_required().await?);
    store.revoke_key("id-1").await?;
    assert!(store.keys_required().await?);
    assert!(place.open().await?.keys_required().await?);
    Ok(())
}

/// Neither id nor secret serves twice.
pub async fn keys_are_unique(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    store.create_key("id-1", "laptop", HASH).await?;
    for (id, hash) in [("id-1", OTHER_HASH), ("id-2", HASH)] {
        let again = store.create_key(id, "again", hash).await;
        assert!(matches!(&again, Err(Error::KeyExists(refused)) if refused == id), "{again:?}");
    }
    assert_eq!(store.list_keys().await?.len(), 1);
    Ok(())
}

/// A file that no job made has a row too, and one only.
pub async fn uploads(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    assert_eq!(store.file("b/upload").await?, None);
    store.put_file(file("b/upload")).await?;
    assert_eq!(store.file("b/upload").await?, Some(file("b/upload")));
    let again = store.put_file(FileRecord { bytes: 1, ..file("b/upload") }).await;
    assert!(matches!(&again, Err(Error::FileExists(path)) if path == "b/upload"), "{again:?}");
    assert_eq!(store.file("b/upload").await?, Some(file("b/upload")));
    Ok(())
}

/// Whom a file belongs to and who may read it comes back as it was given.
pub async fn access(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let rules = [("key-2", Decision::Allow), ("key-3", Decision::Forbid)];
    let rule = |(user, decision): (&str, Decision)| AccessRule { user: user.to_owned(), decision };
    let access = Access { default: Decision::Hide, rules: rules.map(rule).to_vec() };
    let owned = FileRecord { owner: Some("key-1".to_owned()), access, ..file("b/owned") };
    store.put_file(owned.clone()).await?;
    store.put_file(file("b/open")).await?;
    assert_eq!(store.file("b/owned").await?, Some(owned));
    assert_eq!(store.file("b/open").await?, Some(file("b/open")));
    Ok(())
}

/// Files that have expired are listed, oldest first, until they are forgotten.
pub async fn files_expire(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let now = place.clock().now_ms();
    for (path, expires_ms) in [("b/never", None), ("b/late", Some(now + 20)), ("b/soon", Some(now + 10))] {
        store.put_file(FileRecord { expires_ms, ..file(path) }).await?;
    }
    let paths = |files: Vec<FileRecord>| files.into_iter().map(|file| file.path).collect::<Vec<_>>();
    place.clock().advance(9);
    assert_eq!(store.expired_files(10).await?, []);
    place.clock().advance(1);
    assert_eq!(paths(store.expired_files(10).await?), ["b/soon"]);
    place.clock().advance(10);
    assert_eq!(paths(store.expired_files(10).await?), ["b/soon", "b/late"]);
    assert_eq!(paths(store.expired_files(1).await?), ["b/soon"]);

    assert!(store.forget_file("b/soon").await?);
    assert!(!store.forget_file("b/soon").await?);
    assert_eq!(store.file("b/soon").await?, None);
    assert_eq!(paths(store.expired_files(10).await?), ["b/late"]);
    assert!(store.forget_file("b/never").await?);
    // A path that was forgotten can be used again.
    store.put_file(file("b/soon")).await
}
