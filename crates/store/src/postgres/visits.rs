//! Who is signed in on pages.

use super::PostgresStore;
use super::errors::retried;
use super::rows::{self, plain};
use crate::visit::VISITS_MAX;
use crate::{KeyRecord, Result};

pub(super) async fn begin(store: &PostgresStore, word_hash: [u8; 32], key_id: &str, until_ms: i64) -> Result<()> {
    let now_ms = store.now_ms();
    retried!(begin_once(store, word_hash, key_id, until_ms, now_ms))
}

/// Begun twice is begun once: the answer to the first try may have been lost.
async fn begin_once(
    store: &PostgresStore,
    word_hash: [u8; 32],
    key_id: &str,
    until_ms: i64,
    now_ms: i64,
) -> sqlx::Result<()> {
    let mut tx = store.pool.begin().await?;
    sqlx::query("DELETE FROM visits WHERE until_ms <= $1").bind(now_ms).execute(&mut *tx).await?;
    sqlx::query("INSERT INTO visits (word_hash, key_id, until_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(&word_hash[..])
        .bind(plain(key_id))
        .bind(until_ms)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "DELETE FROM visits WHERE key_id = $1 AND seq <= \
         (SELECT seq FROM visits WHERE key_id = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
    )
    .bind(plain(key_id))
    .bind(i64::from(VISITS_MAX))
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

pub(super) async fn key(store: &PostgresStore, word_hash: &[u8; 32]) -> Result<Option<KeyRecord>> {
    let now_ms = store.now_ms();
    let row = retried!(
        sqlx::query(
            "SELECT keys.* FROM visits JOIN keys ON keys.id = visits.key_id \
             WHERE visits.word_hash = $1 AND visits.until_ms > $2 AND keys.revoked_ms IS NULL",
        )
        .bind(&word_hash[..])
        .bind(now_ms)
        .fetch_optional(&store.pool)
    )?;
    row.as_ref().map(rows::key).transpose()
}

pub(super) async fn end(store: &PostgresStore, word_hash: &[u8; 32]) -> Result<bool> {
    let now_ms = store.now_ms();
    let ended = retried!(
        sqlx::query("DELETE FROM visits WHERE word_hash = $1 AND until_ms > $2")
            .bind(&word_hash[..])
            .bind(now_ms)
            .execute(&store.pool)
    )?;
    Ok(ended.rows_affected() > 0)
}
