//! The pictures of one input, read before its run.

use bytes::Bytes;
use scumble_api::{ImageSize, Input, InputPicture, Problem};

use super::{InputImage, Inputs, decode};
use crate::runner::{Needs, RunError, Watch};

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
        decode::decode(&self.bytes, self.size.area()).map_err(|e| e.problem(&loc, &self.url))
    }
}

impl Inputs {
    /// Reads the pictures of an input; each is known to be one, and not too large.
    ///
    /// # Errors
    /// All of what is wrong with them, or that somebody wants to stop.
    pub async fn given(&self, input: &Input, needs: Needs, watch: &dyn Watch) -> Result<Vec<GivenPicture>, RunError> {
        let (mut pictures, mut problems) = (Vec::new(), Vec::new());
        for picture in input.pictures() {
            if watch.cancelled() {
                return Err(RunError::Cancelled);
            }
            if needs == Needs::Near && !self.is_near(&picture.url).await {
                watch.log(&format!("{}: the picture is far away and was not read", picture.path.join(".")));
                continue;
            }
            match self.read_picture(picture).await {
                Ok(picture) => pictures.push(picture),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(pictures) } else { Err(RunError::Invalid(problems)) }
    }

    async fn read_picture(&self, picture: InputPicture) -> Result<GivenPicture, Problem> {
        let InputPicture { path, url } = picture;
        let loc: Vec<&str> = path.iter().map(String::as_str).collect();
        let bytes = self.read(&url).await.map_err(|unread| unread.problem(&loc, &url))?;
        let head = decode::head(&bytes, self.config.max_pixels).map_err(|e| e.problem(&loc, &url))?;
        Ok(GivenPicture { url, bytes, content_type: head.content_type, size: head.size, path })
    }
}
