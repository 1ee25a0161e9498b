//! Who is signed in on pages.

use super::*;
use crate::VISITS_MAX;

const WORD: [u8; 32] = [1; 32];
const OTHER_WORD: [u8; 32] = [2; 32];

/// Whose visit this word is of.
async fn key_of(store: &dyn Store, word: &[u8; 32]) -> Result<Option<String>> {
    Ok(store.visit(word).await?.map(|key| key.id))
}

/// One that was ended is over in every process at once, and stays so; the key's other visits go on.
pub async fn begun_and_ended(place: &impl Place) -> Result<()> {
    let (here, there) = (place.open().await?, place.open().await?);
    let until_ms = place.clock().now_ms() + 1_000;
    here.create_key("id-1", "laptop", [7; 32]).await?;
    assert_eq!(key_of(&*here, &WORD).await?, None);
    here.begin_visit(WORD, "id-1", until_ms).await?;
    here.begin_visit(OTHER_WORD, "id-1", until_ms).await?;
    assert_eq!(key_of(&*there, &WORD).await?.as_deref(), Some("id-1"));
    assert!(there.end_visit(&WORD).await?);
    assert!(!there.end_visit(&WORD).await?, "it is over");
    for store in [&here, &there, &place.open().await?] {
        assert_eq!(key_of(&**store, &WORD).await?, None);
        assert_eq!(key_of(&**store, &OTHER_WORD).await?.as_deref(), Some("id-1"));
    }
    Ok(())
}

/// It ends by itself: with its time, and with its key.
pub async fn they_end_by_themselves(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    store.create_key("id-1", "laptop", [7; 32]).await?;
    store.create_key("id-2", "phone", [8; 32]).await?;
    let now_ms = place.clock().now_ms();
    store.begin_visit(WORD, "id-1", now_ms + 10).await?;
    store.begin_visit(OTHER_WORD, "id-2", now_ms + 1_000).await?;
    place.clock().advance(9);
    assert_eq!(key_of(&*store, &WORD).await?.as_deref(), Some("id-1"));
    place.clock().advance(1);
    assert_eq!(key_of(&*store, &WORD).await?, None);
    assert!(!store.end_visit(&WORD).await?);
    assert_eq!(key_of(&*store, &OTHER_WORD).await?.as_deref(), Some("id-2"));
    store.revoke_key("id-2").await?;
    assert_eq!(key_of(&*store, &OTHER_WORD).await?, None);
    // a word is free again when nothing is left of its visit
    store.begin_visit([3; 32], "id-1", now_ms + 1_000).await?;
    store.begin_visit(WORD, "id-1", now_ms + 1_000).await?;
    assert_eq!(key_of(&*store, &WORD).await?.as_deref(), Some("id-1"));
    Ok(())
}

/// A key has so many at once: with one more the oldest ends, and nobody else's.
pub async fn a_key_has_so_many(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    store.create_key("id-1", "laptop", [7; 32]).await?;
    store.create_key("id-2", "phone", [8; 32]).await?;
    let until_ms = place.clock().now_ms() + 1_000;
    store.begin_visit([255; 32], "id-2", until_ms).await?;
    let words: Vec<[u8; 32]> = (0..).map(|n| [n; 32]).take(VISITS_MAX as usize + 2).collect();
    for word in &words {
        store.begin_visit(*word, "id-1", until_ms).await?;
    }
    let mut alive = Vec::new();
    for word in &words {
        alive.push(key_of(&*store, word).await?.is_some());
    }
    assert_eq!(alive, [[false; 2].as_slice(), &[true; VISITS_MAX as usize]].concat());
    assert_eq!(key_of(&*store, &[255; 32]).await?.as_deref(), Some("id-2"));
    Ok(())
}
