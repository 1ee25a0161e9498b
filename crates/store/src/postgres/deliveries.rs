//! Webhooks on their way.

use sqlx::Row;

use super::PostgresStore;
use super::errors::{Tries, retried};
use super::rows::{self, plain};
use crate::{Change, Delivery, DeliveryAttempt, DeliveryLease, DeliveryRecord, JobId, NextDelivery, Result};

pub(super) async fn claim(store: &PostgresStore, limit: u32, lease: DeliveryLease) -> Result<Vec<Delivery>> {
    let now_ms = store.now_ms();
    let found = retried!(
        sqlx::query(include_str!("queries/claim_deliveries.sql"))
            .bind(now_ms)
            .bind(i64::from(limit))
            .bind(now_ms.saturating_add(lease.first_ms))
            .bind(now_ms.saturating_add(lease.later_ms))
            .fetch_all(&store.pool)
    )?;
    found.iter().map(rows::delivery).collect()
}

pub(super) async fn attempted(
    store: &PostgresStore,
    delivery: &Delivery,
    attempt: &DeliveryAttempt,
    next: NextDelivery,
) -> Result<bool> {
    let (state, next_ms) = match next {
        NextDelivery::Delivered => ("delivered", None),
        NextDelivery::GivenUp => ("failed", None),
        NextDelivery::At(at_ms) => ("pending", Some(at_ms)),
    };
    let DeliveryAttempt { at_ms, duration_ms, status, error } = attempt;
    // what the receiver has heard should not be told again because the server restarted
    let row = retried!(Tries::patient(), _again =>
        sqlx::query(include_str!("queries/delivery_attempted.sql"))
            .bind(delivery.id)
            .bind(delivery.attempt)
            .bind(state)
            .bind(next_ms)
            .bind(at_ms)
            .bind(duration_ms)
            .bind(status.map(i32::from))
            .bind(error.as_deref().map(plain))
            .fetch_optional(&store.pool)
    )?;
    Ok(row.is_some())
}

pub(super) async fn next_ms(store: &PostgresStore) -> Result<Option<i64>> {
    let row = retried!(
        sqlx::query("SELECT min(next_ms) AS next_ms FROM deliveries WHERE next_ms IS NOT NULL").fetch_one(&store.pool)
    )?;
    Ok(row.try_get("next_ms")?)
}

pub(super) async fn of_job(store: &PostgresStore, id: JobId) -> Result<Vec<DeliveryRecord>> {
    let found =
        retried!(sqlx::query(include_str!("queries/deliveries.sql")).bind(id.to_string()).fetch_all(&store.pool))?;
    let mut deliveries: Vec<DeliveryRecord> = Vec::new();
    for row in &found {
        let id = row.try_get("id")?;
        if deliveries.last().is_none_or(|last| last.id != id) {
            deliveries.push(DeliveryRecord {
                id,
                url: row.try_get("url")?,
                state: rows::delivery_state(row)?,
                next_ms: row.try_get("next_ms")?,
                log: Vec::new(),
            });
        }
        if row.try_get::<Option<i64>, _>("at_ms")?.is_some()
            && let Some(last) = deliveries.last_mut()
        {
            last.log.push(rows::delivery_attempt(row)?);
        }
    }
    Ok(deliveries)
}

pub(super) async fn redeliver(store: &PostgresStore, id: JobId) -> Result<bool> {
    let now_ms = store.now_ms();
    let row = retried!(
        sqlx::query(include_str!("queries/redeliver.sql"))
            .bind(id.to_string())
            .bind(now_ms)
            .fetch_optional(&store.pool)
    )?;
    if row.is_some() {
        store.announce(Change::Delivery);
    }
    Ok(row.is_some())
}
