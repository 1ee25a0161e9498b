//! Tests that the queries of the hot paths use their indexes: none reads the whole table of jobs.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use super::migrate::migrate;
use crate::Result;

async fn check(query: &str, index: &str) -> Result<()> {
    let mut conn = SqliteConnectOptions::new().filename(":memory:").connect().await?;
    migrate(&mut conn, 0).await?;
    let mut explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")));
    for parameter in ["?1", "?2", "?3", "?4"] {
        if query.contains(parameter) {
            explain = explain.bind(1);
        }
    }
    let rows = explain.fetch_all(&mut conn).await?;
    let plan = rows.iter().map(|row| row.try_get("detail")).collect::<sqlx::Result<Vec<String>>>()?;
    assert!(plan.iter().any(|step| step.contains(index)), "{index} is not used: {plan:#?}");
    let whole_table = |step: &String| step.starts_with("SCAN jobs") && !step.contains("INDEX");
    assert!(!plan.iter().any(whole_table), "the whole table is read: {plan:#?}");
    Ok(())
}

#[tokio::test]
async fn claim() -> Result<()> {
    check(include_str!("queries/claim.sql"), "COVERING INDEX jobs_queue").await
}

#[tokio::test]
async fn position() -> Result<()> {
    check(include_str!("queries/position.sql"), "COVERING INDEX jobs_living (endpoint=? AND state=?").await
}

#[tokio::test]
async fn counts() -> Result<()> {
    check(include_str!("queries/counts.sql"), "COVERING INDEX jobs_living").await
}

#[tokio::test]
async fn expired() -> Result<()> {
    check(include_str!("queries/expired.sql"), "INDEX jobs_leases (lease_expires_ms<?)").await
}

#[tokio::test]
async fn overdue() -> Result<()> {
    check(include_str!("queries/overdue.sql"), "INDEX jobs_start_by (start_by_ms<?)").await
}

#[tokio::test]
async fn events() -> Result<()> {
    check(include_str!("queries/events.sql"), "INDEX events_of_job (job_seq=? AND seq>?)").await
}
