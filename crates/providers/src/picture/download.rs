//! Fetching what a maker made, at once: its link dies soon. Fetching again is free, making again is not.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Wish, aside, made};
use crate::core::call::MadeFile;
use crate::core::desk::Run;
use crate::core::error::MakerError;

/// How often a link is tried.
const TRIES: u32 = 3;
/// How long one attempt may take.
const TIME: Duration = Duration::from_secs(60);

/// There is no file behind the link.
#[derive(Debug)]
pub(crate) enum NoFile {
    /// The call is over.
    Over(MakerError),
    /// The host says no: the link is dead.
    Dead,
    /// What came is no picture, or not all of it.
    Broken,
}

/// Reads the file behind a link and looks at it.
pub(crate) async fn fetch(run: &Run<'_>, link: &str, wish: Wish) -> Result<MadeFile, NoFile> {
    let name = run.desk.name;
    let mut dead = false;
    for attempt in 1..=TRIES {
        if attempt > 1 {
            let pause = run.desk.pace.of(Duration::from_millis(500) * attempt);
            run.until(None, sleep(pause), true).await.map_err(NoFile::Over)?;
        }
        let read = run.desk.http.download(link, false, TIME);
        let limit = Some(Instant::now() + TIME);
        let read = match run.until(limit, read, true).await {
            Ok(read) => read,
            Err(MakerError::Cancelled) => return Err(NoFile::Over(MakerError::Cancelled)),
            Err(_) => {
                run.log(&format!("{name}: fetching the picture took too long (attempt {attempt} of {TRIES})"));
                continue;
            }
        };
        let why = match read {
            Ok(answer) if answer.status == 200 => {
                let looked = aside(&run.desk.memory, vec![answer.body.clone()], move || made(answer.body, wish))
                    .await
                    .and_then(|file| file);
                dead = false;
                match looked {
                    Ok(file) => return Ok(file),
                    Err(why) => format!("it is {why}"),
                }
            }
            Ok(answer) => {
                dead = matches!(answer.status, 400..=499) && answer.status != 429;
                format!("its host answered {}", answer.status)
            }
            Err(lost) if lost.unrecorded => return Err(NoFile::Over(run.unrecorded(&lost))),
            Err(lost) => {
                dead = false;
                lost.why
            }
        };
        run.log(&format!("{name}: the picture could not be fetched (attempt {attempt} of {TRIES}): {why}"));
    }
    Err(if dead { NoFile::Dead } else { NoFile::Broken })
}

impl NoFile {
    /// What the caller is told. `again`: the maker still has the picture, so asking again need not be paid again.
    pub(crate) fn error(self, run: &Run<'_>, again: bool) -> MakerError {
        match self {
            Self::Over(error) => error,
            Self::Dead => run.failed(again),
            Self::Broken => run.failed(true),
        }
    }
}
