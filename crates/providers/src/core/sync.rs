//! Makers that answer at once: one question, and the pictures' links in its answer. What differs between them is in their
//! own files; how a call is kept, paid for and fetched is here.

use std::time::Duration;

use tokio::time::Instant;

use super::call::MadeFile;
use super::cost::Cost;
use super::desk::Run;
use super::error::MakerError;
use super::fan::fan_out;
use super::retry::Verdict;
use super::ticket::Task;
use crate::picture::{Wish, fetch};
use crate::wire::{Answer, Ask};

/// What a maker's answer holds.
pub(crate) struct Links {
    /// At least one.
    pub(crate) links: Vec<String>,
    pub(crate) seed: Option<u64>,
    /// Where the maker tells.
    pub(crate) cost: Option<Cost>,
    pub(crate) id: Option<String>,
}

/// Pictures, and what is known of them.
pub(crate) struct Fetched {
    pub(crate) files: Vec<MadeFile>,
    pub(crate) seed: Option<u64>,
    pub(crate) took: Duration,
}

/// Asks once for task `index`, notes what the answer holds, and fetches it. A call that was begun before goes on where it
/// was.
pub(crate) async fn ask_and_fetch(
    run: &Run<'_>,
    index: u32,
    ask: &Ask,
    expected: Cost,
    wish: Wish,
    read: &(dyn Fn(&Answer) -> Verdict + Sync),
    links: impl FnOnce(&Answer) -> Result<Links, MakerError>,
) -> Result<Fetched, MakerError> {
    let (found, took) = match run.begun(index).await {
        Some(Task::Answered { links, seed, cost, id }) => {
            run.log(&format!("{} has answered this before; its pictures are fetched", run.desk.name));
            (Links { links, seed, cost: Some(Cost::from_micros(cost)), id }, Duration::ZERO)
        }
        Some(_) => return Err(run.lost_before()),
        None => {
            let _slot = run.slot().await?;
            let mut reserved = run.tab.reserve(expected)?;
            let (began, deadline) = (Instant::now(), run.deadline());
            let answer = run.order(index, ask, deadline, read, &mut reserved).await?;
            let found = links(&answer)?;
            let cost = found.cost.unwrap_or(expected);
            reserved.settle(cost);
            let (links, seed, id) = (found.links.clone(), found.seed, found.id.clone());
            run.tickets.at(index, Task::Answered { links, seed, cost: cost.micros(), id }).await;
            let id = found.id.as_deref().unwrap_or("without a number");
            run.log(&format!(
                "{} answered after {:.1} s, for {cost} ({id})",
                run.desk.name,
                began.elapsed().as_secs_f64()
            ));
            (found, began.elapsed())
        }
    };
    let count = u32::try_from(found.links.len()).unwrap_or(u32::MAX);
    let files = fan_out(count, |place| {
        let link = &found.links[place as usize];
        async move { fetch(run, link, wish).await.map_err(|none| none.error(run, false)) }
    });
    let files = files.await?;
    Ok(Fetched { files, seed: found.seed, took })
}
