//! How the database stands, in numbers.

use sqlx::Row;

use super::errors::retried;
use super::rows::{self, plain};
use super::{PostgresStore, deliveries};
use crate::{Census, FilesPart, Oldest, Result};

pub(super) async fn take(store: &PostgresStore) -> Result<Census> {
    let now_ms = store.now_ms();
    let living = retried!(sqlx::query(include_str!("queries/living.sql")).fetch_all(&store.pool))?;
    let heads = retried!(sqlx::query(include_str!("queries/oldest.sql")).bind(now_ms).fetch_all(&store.pool))?;
    let others = retried!(
        sqlx::query(
            "SELECT pg_database_size(current_database()) AS bytes, \
             (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE next_ms IS NOT NULL LIMIT $1) AS pending) AS webhooks",
        )
        .bind(i64::from(Census::DELIVERIES_MAX))
        .fetch_one(&store.pool)
    )?;
    let oldest = heads
        .iter()
        .map(|row| Ok(Oldest { endpoint: row.try_get("endpoint")?, created_ms: row.try_get("created_ms")? }));
    Ok(Census {
        jobs: living.iter().map(rows::count).collect::<Result<_>>()?,
        oldest: oldest.collect::<Result<_>>()?,
        deliveries: rows::number("webhooks", others.try_get::<i64, _>("webhooks")?)?,
        delivery_due_ms: deliveries::next_ms(store).await?,
        database_bytes: rows::number("bytes", others.try_get::<i64, _>("bytes")?)?,
    })
}

pub(super) async fn files(store: &PostgresStore, after: Option<String>, limit: u32) -> Result<FilesPart> {
    let after = after.unwrap_or_default();
    let row = retried!(
        sqlx::query(
            "SELECT count(*) AS files, coalesce(sum(bytes), 0)::bigint AS bytes, max(path) AS last FROM \
             (SELECT path, bytes FROM files WHERE path > $1 ORDER BY path LIMIT $2) AS part",
        )
        .bind(plain(&after))
        .bind(i64::from(limit))
        .fetch_one(&store.pool)
    )?;
    Ok(FilesPart {
        files: rows::number("files", row.try_get::<i64, _>("files")?)?,
        bytes: rows::number("bytes", row.try_get::<i64, _>("bytes")?)?,
        last: row.try_get("last")?,
    })
}
