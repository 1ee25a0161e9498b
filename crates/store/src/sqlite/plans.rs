//! Tests that the queries of the hot paths use their indexes: none reads the whole table of jobs.

use rusqlite::{Connection, params_from_iter};

use super::db::Db;
use super::migrate::migrate;
use crate::Result;

fn check(query: &str, steps: &[&str]) -> Result<()> {
    let mut conn = Connection::open_in_memory()?;
    migrate(&mut conn, 0)?;
    let explain = format!("EXPLAIN QUERY PLAN {query}");
    let parameters = vec![1; conn.prepare(&explain)?.parameter_count()];
    let plan = conn.all(&explain, params_from_iter(parameters), |row| Ok(row.get::<_, String>("detail")?))?;
    for step in steps {
        assert!(plan.iter().any(|line| line.contains(step)), "{step} is not in {plan:#?}");
    }
    assert!(!plan.iter().any(|line| reads_all(line)), "a whole table is read: {plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("USE TEMP B-TREE FOR ORDER BY")), "it is sorted: {plan:#?}");
    Ok(())
}

/// Whether this step reads a whole table of those that grow.
fn reads_all(step: &str) -> bool {
    let large = ["jobs", "events", "inputs", "outcomes", "files", "deliveries", "hints"];
    step.strip_prefix("SCAN ").is_some_and(|table| large.contains(&table))
}

#[test]
fn turns() -> Result<()> {
    check(include_str!("queries/turns_normal.sql"), &["SCAN turns USING INDEX turns_normal"])?;
    check(include_str!("queries/turns_low.sql"), &["SCAN turns USING INDEX turns_low"])
}

#[test]
fn head() -> Result<()> {
    let lane = "COVERING INDEX jobs_lanes (endpoint=? AND priority=? AND key_id=? AND not_before_ms=?)";
    check(include_str!("queries/head.sql"), &[lane, "SEARCH waiting USING PRIMARY KEY (priority=?)"])
}

#[test]
fn interrupted() -> Result<()> {
    check(include_str!("queries/interrupted.sql"), &["INDEX jobs_interrupted (priority=?)"])
}

#[test]
fn claim() -> Result<()> {
    check(include_str!("queries/claim.sql"), &["SEARCH jobs USING INTEGER PRIMARY KEY"])
}

#[test]
fn position() -> Result<()> {
    check(include_str!("queries/position.sql"), &["COVERING INDEX jobs_lanes (endpoint=? AND priority=?)"])
}

#[test]
fn oldest() -> Result<()> {
    let lane = "INDEX jobs_lanes (endpoint=? AND priority=? AND key_id=? AND not_before_ms=?)";
    check(include_str!("queries/oldest.sql"), &[lane, "SEARCH waiting", "INDEX turns_normal", "INDEX turns_low"])
}

#[test]
fn files() -> Result<()> {
    check(super::census::FILES, &["SEARCH files USING INDEX sqlite_autoindex_files_1 (path>?)"])
}

#[test]
fn counts() -> Result<()> {
    check(include_str!("queries/counts.sql"), &["SCAN waiting", "INDEX jobs_leases"])
}

#[test]
fn expired() -> Result<()> {
    check(super::leases::EXPIRED, &["INDEX jobs_leases (lease_expires_ms<?)"])
}

#[test]
fn leases_of_the_dead() -> Result<()> {
    check(include_str!("queries/expire_leases.sql"), &["INDEX jobs_leases (lease_expires_ms>?)"])
}

#[test]
fn overdue() -> Result<()> {
    check(include_str!("queries/overdue.sql"), &["INDEX jobs_start_by (start_by_ms<?)"])
}

#[test]
fn events() -> Result<()> {
    check(include_str!("queries/events.sql"), &["INDEX events_of_job (job_seq=? AND seq>?)"])
}

#[test]
fn purge() -> Result<()> {
    let ended = "INDEX jobs_ended (keep_io=? AND finished_ms<?)";
    check(include_str!("queries/purge.sql"), &[ended, "INDEX deliveries_of_job (job_seq=?)"])?;
    check(include_str!("queries/purge_files.sql"), &[ended, "INDEX files_of_job (job_id=?)"])
}

#[test]
fn expired_files() -> Result<()> {
    check(include_str!("queries/expired_files.sql"), &["INDEX files_expiry (expires_ms<?)"])
}

#[test]
fn deliveries() -> Result<()> {
    check(include_str!("queries/claim_deliveries.sql"), &["INDEX deliveries_due (next_ms<?)"])
}

#[test]
fn shifts() -> Result<()> {
    check(include_str!("queries/shift_leases.sql"), &["INDEX jobs_leases (lease_expires_ms>?)"])?;
    check(include_str!("queries/shift_rests.sql"), &["INDEX jobs_resting (not_before_ms>?)"])?;
    check(include_str!("queries/shift_deliveries.sql"), &["INDEX deliveries_due (next_ms>?)"])
}
