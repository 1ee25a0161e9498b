//! Secrets of the server itself.

use super::*;
use crate::SecretBytes;

/// Everybody who asks at the same time, through whatever store, gets the same first secret.
pub async fn the_first_is_everybodys(place: &impl Place) -> Result<()> {
    let stores = [place.open().await?, place.open().await?];
    let tasks: Vec<_> = (0..8)
        .map(|i: u8| {
            let store = stores[usize::from(i) % 2].clone();
            tokio::spawn(async move { store.secrets("tokens", SecretBytes::new([i; 32])).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        let Ok(secrets) = task.await else { panic!("a caller panicked") };
        answers.push(secrets?);
    }
    let now = place.clock().now_ms();
    for answer in &answers {
        let [secret] = answer.as_slice() else { panic!("{answer:?}") };
        assert_eq!((secret.purpose.as_str(), secret.created_ms), ("tokens", now));
        assert_eq!(*answer, answers[0]);
    }
    assert_eq!(place.open().await?.secrets("tokens", SecretBytes::new([99])).await?, answers[0]);
    Ok(())
}

/// Secrets are added and removed, each purpose has its own, and none of them is printed.
pub async fn several_for_a_purpose(place: &impl Place) -> Result<()> {
    let store = place.open().await?;
    let first = store.secrets("tokens", SecretBytes::new("first")).await?;
    let [first] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(first.value.reveal(), b"first");
    assert!(!format!("{first:?}").contains("first"));
    place.clock().advance(10);
    let second = store.add_secret("tokens", SecretBytes::new([0, 255])).await?;
    assert_eq!((second.value.reveal(), second.created_ms), (&[0, 255][..], place.clock().now_ms()));
    assert!(second.id > first.id);
    let unused = || SecretBytes::new("unused");
    assert_eq!(store.secrets("tokens", unused()).await?, [first.clone(), second.clone()]);
    assert_eq!(store.secrets("webhooks", SecretBytes::new("other")).await?.len(), 1);

    assert!(store.remove_secret(first.id).await?);
    assert!(!store.remove_secret(first.id).await?);
    assert_eq!(store.secrets("tokens", unused()).await?, [second]);
    Ok(())
}
