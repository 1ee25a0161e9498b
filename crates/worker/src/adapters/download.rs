//! From an address to a file in the cache: once for all who ask at the same time.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use scumble_fetch::{Opened, Pass, Wanted};
use scumble_meters::Lookup;
use tokio::time::Instant;

use super::Adapters;
use super::cache::{Cache, Held, Known, now_ms};
use super::format::{Format, Named, is_whole};
use super::part::Part;
use super::trouble::Trouble;
use crate::runner::Watch;

/// Within this time at least so much has to come, or the host is too slow to wait for.
const WINDOW: Duration = Duration::from_secs(60);
const LEAST: u64 = 256 * 1024;

/// Something to download.
pub(super) struct Remote<'a> {
    pub(super) url: &'a str,
    /// Whether it is what belongs to weights, and not weights.
    pub(super) json: bool,
    /// Largest file.
    pub(super) max_bytes: u64,
    /// Whether what is at the address never changes.
    pub(super) lasting: bool,
    pub(super) pickles: bool,
    pub(super) pass: Option<&'a Pass>,
    /// How log lines begin; none for what nobody asked for by name.
    pub(super) spoken: Option<&'a str>,
}

impl Adapters {
    /// The file at this address, from the cache where it is there.
    pub(super) async fn fetched(&self, remote: &Remote<'_>, watch: &dyn Watch) -> Result<Held, Trouble> {
        let cache = self.cache()?;
        let key = super::cache::key(remote.url);
        // those who take pickles are told other things than those who do not
        let turn = cache.turn(&format!("{key} {} {}", remote.pickles, remote.json));
        let failures = || turn.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (before, _) = failures();
        let _busy = turn.busy.lock().await;
        // who has waited for somebody else's download has its failure too
        if let (now, Some(trouble)) = failures()
            && now > before
        {
            return Err(trouble);
        }
        let got = self.have(cache, &key, remote, watch).await;
        if let Err(trouble) = &got {
            let mut failed = turn.failed.lock().unwrap_or_else(PoisonError::into_inner);
            *failed = (failed.0 + 1, Some(trouble.clone()));
        }
        got
    }

    async fn have(&self, cache: &Cache, key: &str, remote: &Remote<'_>, watch: &dyn Watch) -> Result<Held, Trouble> {
        let found = cache.find(key).filter(|(known, _)| known.bytes <= remote.max_bytes);
        let found = found.filter(|(known, _)| match Named::of(&known.file) {
            Named::As(format) => !remote.json && format.is_weights(remote.pickles),
            Named::Other(_) | Named::Nothing => remote.json,
        });
        let kept = |found| watch.looked_up(scumble_meters::Cache::Adapters, found);
        if let Some((known, held)) = &found
            && (remote.lasting || self.is_fresh(known))
        {
            kept(Lookup::Hit);
            remote.say(watch, || format!("{} from the cache", megabytes(known.bytes)));
            return Ok(held.clone());
        }
        let version = found.as_ref().and_then(|(known, _)| known.version.as_ref());
        let wanted = Wanted { url: remote.url, max_bytes: remote.max_bytes, known: version, pass: remote.pass };
        match (self.fetcher.open(wanted).await, found) {
            (Ok(Opened::Unchanged), Some((known, held))) => {
                kept(Lookup::Hit);
                cache.checked(key, &known);
                remote.say(watch, || format!("{} from the cache; nothing has changed", megabytes(known.bytes)));
                Ok(held)
            }
            (Ok(Opened::Unchanged), None) => {
                Err(Trouble::unread("its host says that nothing has changed, and nothing is here"))
            }
            (Ok(Opened::File(mut file)), _) => {
                kept(Lookup::Miss);
                let host = file.url.host_str().unwrap_or_default().to_owned();
                let size = file.length.map_or_else(|| "an unknown size".to_owned(), megabytes);
                remote.say(watch, || format!("being read from {host}, {size}"));
                let (began, mut filling) = (Instant::now(), Filling::new(cache.begin(file.length).await?, remote));
                let mut pace = Pace::new();
                while let Some(piece) = file.next().await? {
                    pace.count(&host, piece.len())?;
                    filling.add(&piece).await?;
                }
                let version = file.version.take();
                let (part, format) = filling.finish().await?;
                let bytes = part.written();
                let held = cache.keep(key, part, format, version).await?;
                let seconds = began.elapsed().as_secs_f64();
                remote.say(watch, || format!("all of it is here, {} in {seconds:.1} s", megabytes(bytes)));
                Ok(held)
            }
            // whoever is offline goes on with what is there
            (Err(error), Some((known, held)))
                if error.may_pass() && !matches!(error, scumble_fetch::Error::Status { .. }) =>
            {
                kept(Lookup::Hit);
                remote.say(watch, || {
                    format!("{} from the cache; its host was not asked: {error}", megabytes(known.bytes))
                });
                Ok(held)
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    fn is_fresh(&self, known: &Known) -> bool {
        let fresh = u64::try_from(self.config.fresh.as_millis()).unwrap_or(u64::MAX);
        now_ms().checked_sub(known.checked_ms).is_some_and(|age| age < fresh)
    }
}

impl Remote<'_> {
    fn say(&self, watch: &dyn Watch, what: impl FnOnce() -> String) {
        if let Some(spoken) = self.spoken {
            watch.log(&super::escaped(&format!("{spoken}: {}", what())));
        }
    }
}

/// A part that is being written, whose first bytes tell what it is.
pub(super) struct Filling<'a> {
    part: Part,
    remote: &'a Remote<'a>,
    /// The first bytes, until there are enough of them.
    first: Vec<u8>,
    format: Option<Format>,
}

/// Bytes that are enough to tell.
const ENOUGH: usize = 9;

impl<'a> Filling<'a> {
    pub(super) fn new(part: Part, remote: &'a Remote<'a>) -> Self {
        let format = remote.json.then_some(Format::Json);
        Self { part, remote, first: Vec::new(), format }
    }

    pub(super) async fn add(&mut self, piece: &Bytes) -> Result<(), Trouble> {
        if self.format.is_some() {
            return self.part.write(piece).await;
        }
        self.first.extend_from_slice(piece);
        if self.first.len() < ENOUGH {
            return Ok(());
        }
        self.look()?;
        let first = std::mem::take(&mut self.first);
        self.part.write(&first).await
    }

    /// What is not weights is found out before much of it is here.
    fn look(&mut self) -> Result<(), Trouble> {
        let pickles = self.remote.pickles;
        let format = Format::of_bytes(&self.first).filter(|format| format.is_weights(pickles));
        let format = format.ok_or_else(|| {
            Trouble::unread(format!("what is there is not a file of weights; allowed are {}", Format::allowed(pickles)))
        })?;
        self.format = Some(format);
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(Part, Format), Trouble> {
        if self.format.is_none() {
            self.look()?;
        }
        let Some(format) = self.format else { return Err(Trouble::unread("it is empty")) };
        let path = self.part.flushed().await?.to_owned();
        let whole = tokio::task::spawn_blocking(move || is_whole(&path, format)).await;
        match whole {
            Ok(Ok(true)) => Ok((self.part, format)),
            Ok(Ok(false)) => {
                Err(Trouble::unread("the file ends before all that its head promises; it was cut on its way"))
            }
            Ok(Err(_)) | Err(_) => Err(Trouble::unread("this server cannot read what it has written")),
        }
    }
}

/// How fast a host sends.
struct Pace {
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), bytes: 0 }
    }

    fn count(&mut self, host: &str, bytes: usize) -> Result<(), Trouble> {
        self.bytes += bytes as u64;
        if self.since.elapsed() < WINDOW {
            return Ok(());
        }
        if self.bytes < LEAST {
            let seconds = WINDOW.as_secs();
            let said =
                format!("{host} is too slow: less than {} KiB came in {seconds} s; try a faster host", LEAST / 1024);
            return Err(Trouble::unread(said));
        }
        *self = Self::new();
        Ok(())
    }
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
