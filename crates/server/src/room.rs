//! Space that is left for answers and for the database's own work: new work is refused before there is none.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use scumble_api::published::{gigabytes, whole_units};
use scumble_api::{ErrorAnswer, ErrorType};
use scumble_files::Files;
use scumble_store::Store;

use crate::answer::Refusal;

/// For so long what was found is believed: the system is asked once, however many requests come meanwhile.
const BELIEVED: Duration = Duration::from_secs(1);

/// When to come again. Nobody frees space within seconds.
const RETRY_AFTER_S: &str = "30";

/// What was found the last time.
#[derive(Default)]
pub(crate) struct Room(Mutex<Option<(Instant, bool)>>);

impl Room {
    /// # Errors
    /// Less than `floor` bytes are left where the database or the files are; reading goes on.
    pub(crate) fn check(&self, store: &dyn Store, files: &Files, floor: u64) -> Result<(), Refusal> {
        if self.is_enough(Instant::now(), || tight(store, files, floor)) { Ok(()) } else { Err(full()) }
    }

    /// Asks where it is tight, unless that was asked a moment ago. A change is logged, once.
    fn is_enough(&self, now: Instant, look: impl FnOnce() -> Option<String>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_enough = match *known {
            Some((at, is_enough)) if now.saturating_duration_since(at) < BELIEVED => return is_enough,
            Some((_, is_enough)) => is_enough,
            None => true,
        };
        let tight = look();
        match (&tight, was_enough) {
            (Some(place), true) => tracing::error!("no new work until more space is free: {place}"),
            (None, false) => tracing::info!("there is space again, and new work is taken"),
            _ => {}
        }
        *known = Some((now, tight.is_none()));
        tight.is_none()
    }
}

/// Where less is left than has to be, if it is so anywhere.
fn tight(store: &dyn Store, files: &Files, floor: u64) -> Option<String> {
    let database = store.free_bytes().map_err(|error| error.to_string());
    let pictures = files.free_bytes().map_err(|error| error.to_string());
    let places = [("the database is", store.folder(), database), ("the files are", files.folder(), pictures)];
    places.into_iter().find_map(|(what, folder, free)| match free {
        Ok(free) => little_room(what, folder?, free?, floor),
        Err(error) => {
            // whoever writes there will see
            tracing::warn!(error, "how much space is left where {what} is not known");
            None
        }
    })
}

/// What is said of a folder with less than `floor` bytes left. `what`: "the files are".
pub fn little_room(what: &str, folder: &Path, free: u64, floor: u64) -> Option<String> {
    (free < floor).then(|| {
        let (folder, free, floor) = (folder.display(), gigabytes(free), whole_units(floor));
        format!("{free} are left in {folder}, where {what}, and [store] free_bytes asks for {floor}")
    })
}

fn full() -> Refusal {
    let detail = "The server has too little space left and takes no new requests; finished ones can still be fetched. Its \
                  owner has to free some: the server's log says where. Send the request again later";
    Refusal::from(ErrorAnswer::typed(ErrorType::RunnerSchedulingFailure, detail)).with("retry-after", RETRY_AFTER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_words_with_the_folder() {
        let said = |free| little_room("the files are", Path::new("/var/lib/scumble/files"), free, 256 << 20);
        let expected = "94.4 MB are left in /var/lib/scumble/files, where the files are, and [store] free_bytes asks for \
                        256 MiB";
        assert_eq!(said(94_371_840).as_deref(), Some(expected));
        assert_eq!(said(256 << 20), None);
    }

    #[test]
    fn the_system_is_asked_once_a_second_however_many_come() {
        let (room, began) = (Room::default(), Instant::now());
        let mut looks = 0;
        let mut check = |after_ms: u64, found: Option<&str>| {
            room.is_enough(began + Duration::from_millis(after_ms), || {
                looks += 1;
                found.map(str::to_owned)
            })
        };
        assert!((0..1000).all(|ms| check(ms, (ms > 0).then_some("full"))), "what was found first is believed");
        assert!(!check(1000, Some("full")));
        assert!(!(1001..2000).any(|ms| check(ms, None)));
        assert!(check(2000, None), "there is space again");
        assert_eq!(looks, 3);
    }
}
