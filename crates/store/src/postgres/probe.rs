//! Proof that the database can be written.

use super::PostgresStore;
use super::errors::retried;
use crate::Result;

pub(super) async fn prove(store: &PostgresStore) -> Result<()> {
    let now_ms = store.now_ms();
    retried!(
        sqlx::query(
            "INSERT INTO probe (id, at_ms) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms",
        )
        .bind(now_ms)
        .execute(&store.pool)
    )?;
    Ok(())
}
