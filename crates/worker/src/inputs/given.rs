//! The pictures of one input, read before its run: several at once, all within one time, and no longer than somebody wants
//! them.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use scumble_api::{ImageSize, Input, InputPicture, Problem};
use tokio::time::{Instant, sleep, timeout_at};

use super::read::Unread;
use super::{InputImage, Inputs, decode};
use crate::runner::{Needs, RunError, Watch};

/// Pictures of one input that are read at once.
const AT_ONCE: usize = 4;

/// How often a reading looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(50);

/// A picture that an input refers to: its bytes as they came, and what their head says.
#[derive(Clone, Debug)]
pub struct GivenPicture {
    /// Where in the input: names of fields and places in lists.
    pub path: Vec<String>,
    /// What the input says there.
    pub url: String,
    /// The file.
    pub bytes: Bytes,
    /// Its MIME type, from its first bytes.
    pub content_type: &'static str,
    /// Its size, the right way up.
    pub size: ImageSize,
}

impl GivenPicture {
    /// Its pixels: no more of them than its head has promised.
    ///
    /// # Errors
    /// What is wrong with the rest of the file.
    pub(crate) fn decoded(&self) -> Result<InputImage, Problem> {
        let loc: Vec<&str> = self.path.iter().map(String::as_str).collect();
        decode::decode(&self.bytes, self.size.area()).map_err(|e| decode::problem(&e, &loc, &self.url))
    }
}

/// What became of one picture.
enum Given {
    /// It is here.
    Read(GivenPicture),
    /// It is far away, and not needed.
    Skipped,
    /// It cannot be used.
    Wrong(Problem),
    /// There is no room for it now.
    Busy,
}

impl Inputs {
    /// Reads the pictures of an input; each is known to be one, and not too large.
    ///
    /// # Errors
    /// All of what is wrong with them, or that somebody wants to stop, or that there is no room for them now.
    pub async fn given(&self, input: &Input, needs: Needs, watch: &dyn Watch) -> Result<Vec<GivenPicture>, RunError> {
        let wanted = input.pictures();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let until = Instant::now() + self.config.time;
        let reading = stream::iter(wanted).map(|picture| self.one(picture, needs, until, watch));
        let reading = reading.buffered(AT_ONCE).collect::<Vec<Given>>();
        let given = tokio::select! {
            biased;
            () = cancelled(watch) => return Err(RunError::Cancelled),
            given = reading => given,
        };
        let (mut pictures, mut problems, mut busy) = (Vec::new(), Vec::new(), false);
        for one in given {
            match one {
                Given::Read(picture) => pictures.push(picture),
                Given::Skipped => {}
                Given::Wrong(problem) => problems.push(problem),
                Given::Busy => busy = true,
            }
        }
        match (problems.is_empty(), busy) {
            (true, false) => Ok(pictures),
            (false, _) => Err(RunError::Invalid(problems)),
            (true, true) => Err(RunError::busy()),
        }
    }

    async fn one(&self, picture: InputPicture, needs: Needs, until: Instant, watch: &dyn Watch) -> Given {
        let InputPicture { path, url } = picture;
        if needs == Needs::Near && !self.is_near(&url).await {
            watch.log(&format!("{}: the picture is on another server and was not read", path.join(".")));
            return Given::Skipped;
        }
        let read = timeout_at(until, self.read_picture(&path, &url)).await;
        read.unwrap_or_else(|_| {
            let loc: Vec<&str> = path.iter().map(String::as_str).collect();
            Given::Wrong(Unread::TooSlow { all: self.config.time }.problem(&loc, &url))
        })
    }

    async fn read_picture(&self, path: &[String], url: &str) -> Given {
        let loc: Vec<&str> = path.iter().map(String::as_str).collect();
        let bytes = match self.read(url).await {
            Ok(bytes) => bytes,
            Err(Unread::Busy) => return Given::Busy,
            Err(unread) => return Given::Wrong(unread.problem(&loc, url)),
        };
        let (file, max_pixels) = (bytes.clone(), self.config.max_pixels);
        // a decoder may copy the file before it looks at it
        let head = self.aside(2 * bytes.len() as u64, move || scumble_pictures::head(&file, max_pixels)).await;
        match head {
            Ok(Ok(head)) => Given::Read(GivenPicture {
                path: path.to_vec(),
                url: url.to_owned(),
                bytes,
                content_type: head.format.to_mime_type(),
                size: ImageSize { width: head.width, height: head.height },
            }),
            Ok(Err(undecodable)) => Given::Wrong(decode::problem(&undecodable, &loc, url)),
            Err(Unread::Busy) => Given::Busy,
            Err(unread) => Given::Wrong(unread.problem(&loc, url)),
        }
    }
}

/// Until somebody wants the run to stop.
pub(crate) async fn cancelled(watch: &dyn Watch) {
    while !watch.cancelled() {
        sleep(GLANCE).await;
    }
}
