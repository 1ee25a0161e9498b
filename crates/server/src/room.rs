//! Space that is left for answers and for the database's own work: new work is refused before there is none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use scumble_api::{ErrorAnswer, ErrorType};
use scumble_files::Files;
use scumble_store::Store;

use crate::answer::Refusal;

/// For so long what was found is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// What was found the last time.
#[derive(Default)]
pub(crate) struct Room(Mutex<Option<(Instant, bool)>>);

impl Room {
    /// # Errors
    /// Less than `floor` bytes are left where the database or the files are; reading goes on.
    pub(crate) fn check(&self, store: &dyn Store, files: &Files, floor: u64) -> Result<(), Refusal> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_enough = match *known {
            Some((at, is_enough)) if at.elapsed() < BELIEVED => is_enough,
            _ => is_enough(store, files, floor),
        };
        if known.is_none_or(|(at, _)| at.elapsed() >= BELIEVED) {
            *known = Some((Instant::now(), is_enough));
        }
        if is_enough { Ok(()) } else { Err(full()) }
    }
}

fn is_enough(store: &dyn Store, files: &Files, floor: u64) -> bool {
    let database = store.free_bytes().map_err(|error| error.to_string());
    let pictures = files.free_bytes().map_err(|error| error.to_string());
    [("database", database), ("files", pictures)].into_iter().all(|(place, free)| match free {
        Ok(Some(free)) if free < floor => {
            tracing::error!(place, free, floor, "no new work: less space is left than [store] free_bytes asks for");
            false
        }
        Ok(_) => true,
        Err(error) => {
            // whoever writes there will see
            tracing::warn!(place, error, "how much space is left is not known");
            true
        }
    })
}

fn full() -> Refusal {
    let detail = "The server has too little space left and takes no new requests; finished ones can still be fetched. Its \
                  owner has to free some: the server's log says where. Send the request again later";
    ErrorAnswer::typed(ErrorType::RunnerSchedulingFailure, detail).into()
}
