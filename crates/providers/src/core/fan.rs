//! One call, several pictures, from a maker that makes one at a time.

use std::future::Future;

use futures::stream::{FuturesUnordered, StreamExt};

use super::error::MakerError;

/// Runs all at once and gives what they made, in order. Those that a content checker refused are left out while others
/// remain; any other failure ends them all, so that what was not sent yet is not sent.
pub(crate) async fn fan_out<T, F: Future<Output = Result<T, MakerError>>>(
    count: u32,
    one: impl Fn(u32) -> F,
) -> Result<Vec<T>, MakerError> {
    let numbered = |index| {
        let work = one(index);
        async move { (index, work.await) }
    };
    let mut running: FuturesUnordered<_> = (0..count).map(numbered).collect();
    let (mut made, mut refused) = (Vec::new(), Vec::new());
    while let Some((index, result)) = running.next().await {
        match result {
            Ok(one) => made.push((index, one)),
            Err(error) if error.is_moderation() => refused.push((index, error)),
            Err(error) => return Err(error),
        }
    }
    refused.sort_by_key(|(index, _)| *index);
    match refused.into_iter().next() {
        Some((_, error)) if made.is_empty() => Err(error),
        _ => {
            made.sort_by_key(|(index, _)| *index);
            Ok(made.into_iter().map(|(_, one)| one).collect())
        }
    }
}
