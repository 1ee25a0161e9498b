//! A process that is killed loses nothing it acknowledged.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{SqlitePlace, enqueue, new_job, options, runtime};
use scumble_store::{Error, JobId, Result, SqliteStore, Store};

const ACKNOWLEDGED: &str = "acknowledged ";

/// Starts this very test program as a child that enqueues as fast as it can, and kills it in the middle.
#[test]
fn killed_after_the_answer() -> Result<()> {
    let place = SqlitePlace::new();
    let ids = enqueue_until_killed(&place, 200).expect("this test program can be run again");
    assert!(ids.len() >= 200);
    runtime().block_on(async {
        let store = place.open_sqlite(options()).await?;
        for id in &ids {
            assert!(store.job(*id).await?.is_some(), "{id} was acknowledged and is gone");
        }
        // And the database is fit for use.
        enqueue(&store, new_job()).await?;
        Ok(())
    })
}

fn enqueue_until_killed(place: &SqlitePlace, enough: usize) -> std::io::Result<Vec<JobId>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", "enqueue_forever", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let path = place.path();
    writeln!(child.stdin.take().expect("it is piped"), "{}", path.display())?;
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut ids = lines.map_while(std::io::Result::ok).filter_map(|line| line.strip_prefix(ACKNOWLEDGED)?.parse().ok());
    let mut acknowledged: Vec<JobId> = ids.by_ref().take(enough).collect();
    child.kill()?;
    child.wait()?;
    acknowledged.extend(ids);
    Ok(acknowledged)
}

#[test]
#[ignore = "the child of killed_after_the_answer: reads the database's path from standard input and never ends"]
fn enqueue_forever() -> Result<()> {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).expect("the parent writes a path");
    runtime().block_on(async {
        let store = std::sync::Arc::new(SqliteStore::open(path.trim_end(), options()).await?);
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let store = store.clone();
            callers.spawn(async move {
                loop {
                    let job = enqueue(&*store, new_job()).await?;
                    // One write, so that lines of several callers do not mix.
                    let line = format!("{ACKNOWLEDGED}{}\n", job.id);
                    std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
                }
            });
        }
        callers.join_next().await.map_or(Ok(()), |ended| ended.unwrap_or(Err::<(), _>(Error::Closed)))
    })
}
